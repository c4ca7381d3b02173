"use strict";
// Line charts in SVG, of series {label, colour, isBest, points: [[step, value], …]}.

const SVG = "http://www.w3.org/2000/svg";
const BOX = { left: 58, right: 494, top: 14, bottom: 222 };

function svgNode(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function shortNumber(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const rounded = Number(value.toPrecision(3));
  return size >= 1e5 || size < 1e-3 ? rounded.toExponential() : String(rounded);
}

// Steps of 1, 2 or 5 times a power of ten, at most `most` of them.
function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) found.push(n * step);
  return found;
}

function powers(low, high) {
  const found = [];
  for (let n = Math.floor(Math.log10(low)); n <= Math.ceil(Math.log10(high)); n += 1) found.push(10 ** n);
  return found;
}

// Draw the series; `format` writes a value of the upright axis, which is logarithmic where `isLog`.
function drawLines(svg, series, lastStep, format, isLog) {
  const values = series.flatMap((one) => one.points.map((point) => point[1]));
  if (!values.length) {
    svg.replaceChildren(svgNode("text", { x: 260, y: 120, "text-anchor": "middle" }, "nothing to show yet"));
    return;
  }
  let low = Math.min(...values), high = Math.max(...values);
  if (isLog) {
    const marks = powers(low, high);
    [low, high] = [marks[0], marks[0] === marks.at(-1) ? marks[0] * 10 : marks.at(-1)];
  } else {
    const room = (high - low || Math.abs(high) || 1) * 0.08;
    [low, high] = [low - room, high + room];
  }
  const scale = isLog ? Math.log10 : (value) => value;
  const x = (step) => BOX.left + ((BOX.right - BOX.left) * step) / Math.max(1, lastStep);
  const y = (value) =>
    BOX.bottom - ((BOX.bottom - BOX.top) * (scale(value) - scale(low))) / (scale(high) - scale(low));
  const parts = [];
  for (const value of isLog ? powers(low, high) : ticks(low, high, 5)) {
    const at = y(value);
    parts.push(svgNode("line", { class: "grid", x1: BOX.left, x2: BOX.right, y1: at, y2: at }));
    parts.push(svgNode("text", { x: BOX.left - 6, y: at + 4, "text-anchor": "end" }, format(value)));
  }
  for (const step of ticks(0, Math.max(1, lastStep), 6)) {
    parts.push(svgNode("text", { x: x(step), y: BOX.bottom + 18, "text-anchor": "middle" }, shortNumber(step)));
  }
  parts.push(svgNode("text", { x: (BOX.left + BOX.right) / 2, y: BOX.bottom + 34, "text-anchor": "middle" }, "step"));
  for (const one of series) parts.push(...lineOf(one, x, y, format));
  svg.replaceChildren(...parts);
}

function lineOf(one, x, y, format) {
  const name = one.isBest ? "line best" : "line";
  const places = one.points.map(([step, value]) => `${x(step)},${y(value)}`).join(" ");
  const line = svgNode("polyline", { class: name, points: places, stroke: one.colour, "data-label": one.label });
  line.append(svgNode("title", {}, one.label));
  if (one.points.length > 6) return [line];
  const dots = one.points.map(([step, value]) => {
    const dot = svgNode("circle", { cx: x(step), cy: y(value), r: one.isBest ? 4.5 : 3, fill: one.colour });
    dot.append(svgNode("title", {}, `${one.label}, step ${step}: ${format(value)}`));
    return dot;
  });
  return [line, ...dots];
}
