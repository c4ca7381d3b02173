"use strict";
// Asks the server every two seconds what there is, and shows it. Every text goes through textContent.

const PERIOD_MS = 2000;
const SCHEDULES = { learning_rate: "learning rate η", smoothing: "smoothing λ", clip_norm: "clip C" };
const $ = (id) => document.getElementById(id);
let runs = [];
let shown = "";

async function ask(path) {
  const answer = await fetch(path);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function node(tag, text, ...classes) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.classList.add(...classes.filter(Boolean));
  return made;
}

function stateClass(state) {
  return state.replaceAll(" ", "-");
}

function colourOf(number) {
  return `hsl(${(number * 137.5) % 360} 65% 48%)`;
}

// Fill a table; `words` are the columns that are aligned left.
function fill(table, headers, rows, words) {
  const cellOf = (tag) => (content, column) => {
    const cell = content instanceof Node ? document.createElement(tag) : node(tag, content);
    if (content instanceof Node) cell.append(content);
    if (words.includes(column)) cell.classList.add("word");
    return cell;
  };
  const rowOf = (cells, tag) => {
    const row = document.createElement("tr");
    row.append(...cells.map(cellOf(tag)));
    return row;
  };
  table.tHead.replaceChildren(rowOf(headers, "th"));
  table.tBodies[0].replaceChildren(...rows.map((cells) => rowOf(cells, "td")));
}

function linkTo(name) {
  const link = node("a", name);
  link.href = `#${encodeURIComponent(name)}`;
  return link;
}

function showList() {
  $("list").hidden = false;
  $("one").hidden = true;
  $("empty").hidden = runs.length > 0;
  const rows = runs.map((run) => [
    linkTo(run.name), run.kind, node("span", run.state, stateClass(run.state)), run.steps, run.here, run.total,
  ]);
  fill($("list").querySelector("table"), ["name", "kind", "state", "steps", "this run's ε", "total ε"], rows, [0, 1, 2]);
}

function showRun(run) {
  $("list").hidden = true;
  $("one").hidden = false;
  $("name").textContent = `${run.kind} ${run.name}`;
  $("state").textContent = run.state;
  $("state").className = `state ${stateClass(run.state)}`;
  showEpsilon(run);
  $("facts").replaceChildren(...run.facts.flatMap(([label, text]) => [node("dt", label), node("dd", text)]));
  showCharts(run);
  showTrials(run);
  showLanes(run);
}

function showEpsilon(run) {
  $("epsilon").hidden = run.epsilon === null;
  if (run.epsilon === null) return;
  $("share").style.width = `${100 * run.epsilon.share}%`;
  const { drawn, reserved } = run.epsilon;
  $("epsilon-text").textContent =
    `ε drawn so far ${drawn}, of ${reserved} reserved. What is reported is the reserved ε, whatever is drawn.`;
}

function showCharts(run) {
  const isShare = run.metric !== "loss";
  const format = isShare ? (value) => `${shortNumber(100 * value)}%` : shortNumber;
  const seriesOf = (points) =>
    run.trials.map((trial) => ({
      label: run.kind === "run" ? run.name : `trial ${trial.number}`,
      colour: colourOf(trial.number),
      isBest: trial.is_best,
      points: points(trial),
    })).filter((one) => one.points.length);
  const lastStep = Math.max(1, ...run.trials.map((trial) => Number(trial.steps.split("/")[1])));
  $("score-title").textContent = `Score (${run.metric}) over steps`;
  drawLines($("scores"), seriesOf((trial) => trial.scores), lastStep, format, false);
  const names = [...new Set(run.trials.flatMap((trial) => Object.keys(trial.schedules)))];
  const known = Object.keys(SCHEDULES).filter((name) => names.includes(name));
  if ($("schedule").options.length !== known.length) {
    $("schedule").replaceChildren(...known.map((name) => new Option(SCHEDULES[name], name)));
  }
  const chosen = $("schedule").value;
  drawLines($("schedules"), seriesOf((trial) => trial.schedules[chosen] ?? []), lastStep, shortNumber, true);
}

function showTrials(run) {
  $("trials").hidden = run.kind === "run" || !run.trials.length;
  const rows = run.trials.map((trial) => {
    const number = node("span", String(trial.number));
    const swatch = node("span", "", "swatch");
    swatch.style.background = colourOf(trial.number);
    number.prepend(swatch);
    const state = node("span", trial.state + (trial.is_best ? " ★ best" : ""), stateClass(trial.state));
    return [number, ...trial.settings, trial.steps, trial.score, trial.epsilon, state];
  });
  const headers = ["trial", ...run.setting_names, "steps", run.metric, "ε of it alone", "state"];
  const table = $("trials").querySelector("table");
  fill(table, headers, rows, [0, headers.length - 1]);
  [...table.tBodies[0].rows].forEach((row, index) => {
    const mark = (isHot) => highlight(`trial ${run.trials[index].number}`, isHot);
    row.onmouseenter = () => mark(true);
    row.onmouseleave = () => mark(false);
  });
}

function highlight(label, isHot) {
  for (const line of document.querySelectorAll("polyline")) {
    if (line.dataset.label === label) line.classList.toggle("hot", isHot);
  }
}

function showLanes(run) {
  $("lanes").hidden = !run.lanes.length;
  $("lanes-title").textContent = run.num_lanes === null ? "At work" : `Lanes: ${run.lanes.length} of ${run.num_lanes} at work`;
  const columns = [["works on", "trial"], ["steps", "steps"], ["on", "process"], ["speed", "speed"]];
  const used = columns.filter(([, key]) => run.lanes.some((lane) => lane[key]));
  const rows = run.lanes.map((lane) => used.map(([, key]) => lane[key]));
  fill($("lanes").querySelector("table"), used.map(([header]) => header), rows, [0, 2, 3]);
}

async function refresh() {
  const live = $("live");
  try {
    runs = await ask("runs.json");
    const wanted = decodeURIComponent(location.hash.slice(1)) || (runs.length === 1 ? runs[0].name : "");
    $("runs").replaceChildren(...(runs.length > 1 ? [Object.assign(node("a", "all"), { href: "#" })] : []));
    const run = wanted ? await ask(`run.json?name=${encodeURIComponent(wanted)}`) : null;
    const read = JSON.stringify([runs, run, $("schedule").value]);
    if (read !== shown) {
      if (run) showRun(run);
      else showList();
      shown = read;
    }
    const asOf = run && run.as_of !== "now" ? ` as of ${run.as_of},` : "";
    live.textContent = `live:${asOf} read ${new Date().toLocaleTimeString()}`;
    live.classList.remove("broken");
  } catch (error) {
    live.textContent = error instanceof TypeError ? "dpzo dashboard has ended; what is shown is old" : error.message;
    live.classList.add("broken");
  }
}

async function repeat() {
  await refresh();
  setTimeout(repeat, PERIOD_MS);
}

addEventListener("hashchange", refresh);
$("schedule").addEventListener("change", refresh);
repeat();
