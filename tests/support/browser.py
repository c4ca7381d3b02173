"""A page in headless Chromium, 400 pixels wide: what it loads and complains about, and whether people can read it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

WIDTH = 400
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

_PROBE = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe src="NAME" style="border:0;width:WIDTHpx;height:900px"></iframe>
<script>
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const linear = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
function paper(view, element) {
  for (; element; element = element.parentElement) {
    const color = numbers(view.getComputedStyle(element).backgroundColor);
    if (color.length < 4 || color[3] > 0) return color;
  }
  return [255, 255, 255];
}
function contrast(view, element) {
  const style = view.getComputedStyle(element), is_svg = element instanceof view.SVGElement;
  const pair = [light(numbers(is_svg ? style.fill : style.color)), light(paper(view, element))].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}
window.onload = () => {
  const view = document.querySelector("iframe").contentWindow, page = view.document, root = page.documentElement;
  page.querySelectorAll("details").forEach((part) => (part.open = true));
  const says = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const shown = (selector) => [...page.body.querySelectorAll(selector)].filter((one) => one.getClientRects().length);
  const texts = shown("*").filter(says), pictures = shown("img, svg");
  const named = (one) => one.alt || one.closest("[aria-label]") || one.querySelector("title");
  const found = {
    sections: [...page.querySelectorAll("section, h1")].map((one) => one.id || one.localName),
    width: root.scrollWidth,
    loaded: view.performance.getEntriesByType("resource").map((entry) => entry.name),
    texts: texts.length,
    pale: texts.filter((one) => contrast(view, one) < 4.5).map((one) => one.textContent.trim().slice(0, 60)),
    pictures: pictures.length,
    unnamed: pictures.filter((one) => !named(one)).map((one) => one.outerHTML.slice(0, 60)),
    paper: paper(view, page.body),
  };
  document.body.innerHTML = "<pre id=found></pre>";
  document.querySelector("#found").textContent = JSON.stringify(found);
};
</script>
"""


def look_at(page: Path, *, dark: bool) -> dict[str, Any]:
    """Return what a browser finds on a page, and under 'console' what it complains about."""
    assert CHROMIUM is not None
    probe = page.with_name("probe.html")
    probe.write_text(_PROBE.replace("NAME", page.name).replace("WIDTH", str(WIDTH)), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--enable-logging=stderr"]
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [CHROMIUM, *flags, scheme, f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", probe.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    probe.unlink()
    found = re.search(r'<pre id="found">(.*?)</pre>', shown.stdout, re.DOTALL)
    assert found is not None, shown.stdout[-500:] + shown.stderr[-500:]
    return {**json.loads(html.unescape(found[1])), "console": re.findall(r".*CONSOLE.*", shown.stderr)}
