"""A tiny phrase grammar: templates with slots, filled from tables of alternatives, the same everywhere for one seed.

The tests compare the data files byte for byte. `random.choice` and `shuffle` may change between Python versions;
`random()` of a seeded generator is guaranteed not to, so every draw goes through it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
Rules = Mapping[str, Sequence[str]]

_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou]|hon|hour)")
_START = re.compile(r"(?:^|[.?] )[a-z]")


def words(text: str) -> list[str]:
    """List the words of `text`."""
    return text.split()


def pick(rng: random.Random, options: Sequence[T]) -> T:
    """One of `options`, each with the same chance."""
    return options[int(rng.random() * len(options))]


def shuffled(rng: random.Random, items: Sequence[T]) -> list[T]:
    """`items` in a random order (Fisher-Yates)."""
    result = list(items)
    for last in range(len(result) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        result[last], result[other] = result[other], result[last]
    return result


def expand(rng: random.Random, rules: Rules, template: str) -> str:
    """`template` with every `{slot}` replaced by an alternative of `rules[slot]`, and that one's slots in turn."""
    while _SLOT.search(template):
        template = _SLOT.sub(lambda slot: pick(rng, rules[slot.group(1)]), template)
    return template


def polish(text: str) -> str:
    """`text` as sentences: "an" before a vowel, capital first letters, a mark at the end."""
    text = _ARTICLE.sub(r"\1n ", text)
    text = _START.sub(lambda start: start.group(0).upper(), text)
    return text if text[-1] in ".?!" else text + "."
