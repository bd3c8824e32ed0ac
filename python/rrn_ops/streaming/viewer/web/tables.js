// Latency by stage, as a table and as one bar, the numbers at the top, and the frames that were left out.

import { $, count, duration, make, milliseconds, setText } from "./dom.js";

// In the order of a frame's way, each with a class for its colour.
const stages = [
  ["grab", "grab"], ["decode", "decode"], ["wait", "wait"], ["preprocess", "preprocess"], ["detect", "detect"],
  ["track", "track"], ["encode", "encode"], ["publish", "publish + receive"], ["send", "send"], ["paint", "paint"],
];

const drops = [
  ["replaced", "replaced by a newer one"], ["corrupt", "could not be decoded"], ["rate_limited", "left out by --fps"],
  ["not_sent", "not sent, connection full"], ["lost", "lost on the way"], ["unpaired", "picture missing"], ["skipped", "skipped for this page"],
];

function fillTiles(values) {
  const tiles = $("tiles");
  for (const [key, name, text] of values) {
    let tile = tiles.querySelector(`[data-key=${key}]`);
    if (tile === null) {
      tile = make("div", { "data-key": key }, make("dt"), make("dd"));
      tiles.append(tile);
    }
    setText(tile.querySelector("dt"), name);
    setText(tile.querySelector("dd"), text);
  }
}

function row(key, name, value) {
  const unknown = value === undefined;
  const cells = ["p50", "p95", "p99"].map((which) => make("td", {}, unknown ? "–" : milliseconds(value[which])));
  const head = make("th", { scope: "row" }, make("span", { class: "dot", "data-stage": key }), name);
  return make("tr", { "data-stage": key, ...(unknown ? { class: "unknown" } : {}) }, head, ...cells);
}

function fillStack(latency) {
  const total = latency.end_to_end?.p50;
  const known = stages.map(([key, name]) => ({ key, name, value: latency[key]?.p50 ?? 0 }));
  const sum = known.reduce((all, { value }) => all + value, 0);
  const rest = Math.max(0, (total ?? sum) - sum);
  const parts = [...known, { key: "other", name: "between", value: rest }].filter(({ value }) => value > 0);
  const whole = sum + rest || 1;
  const stack = $("stack");
  stack.replaceChildren(...parts.map(({ key, name, value }) => {
    const part = make("span", { "data-stage": key, title: `${name}: ${milliseconds(value)} ms` });
    part.style.flexGrow = String(value / whole);
    return part;
  }));
  const longest = [...parts].sort((a, b) => b.value - a.value).slice(0, 3);
  stack.setAttribute("aria-label", longest.length === 0 ? "no latency is known yet"
    : `the longest stages: ${longest.map(({ name, value }) => `${name} ${milliseconds(value)} ms`).join(", ")}`);
}

export function showState(state) {
  const camera = state.cameras[state.camera];
  const { latency } = state;
  $("stages").replaceChildren(
    ...stages.map(([key, name]) => row(key, name, latency[key])),
    row("end_to_end", "grab to screen", latency.end_to_end));
  fillStack(latency);
  const known = Object.keys(latency).length > 0;
  setText($("latency-note"), known && latency.end_to_end === undefined
    ? "of the last 10 s, in ms; the camera has another clock" : "of the last 10 s, in ms");
  fillTiles([
    ["fps", "frames a second", camera ? camera.fps.toFixed(1) : "–"],
    ["latency", "grab to screen, ms", milliseconds(latency.end_to_end?.p50)],
  ]);
  const counted = { ...camera?.counters, lost: camera?.lost, unpaired: camera?.unpaired, skipped: state.skipped };
  $("drops").replaceChildren(...drops.map(([key, name]) => make("div", { "data-key": key, ...(counted[key] ? { class: "some" } : {}) },
    make("dt", {}, name), make("dd", {}, counted[key] === undefined ? "–" : count(counted[key])))));
  const invalid = Object.values(state.invalid).reduce((all, value) => all + value, 0);
  setText($("footer"), [
    `${count(state.viewers)} ${state.viewers === 1 ? "viewer" : "viewers"}`,
    ...(camera?.counters ? [`${count(camera.counters.captured)} frames captured`, `${count(camera.counters.published)} published`] : []),
    ...(invalid ? [`${count(invalid)} messages not taken`] : []),
  ].join(" · "));
}

export function showFrame(message) {
  fillTiles([
    ["fps", "frames a second", $("tiles").querySelector("[data-key=fps] dd")?.textContent ?? "–"],
    ["latency", "grab to screen, ms", $("tiles").querySelector("[data-key=latency] dd")?.textContent ?? "–"],
    ["people", "people", String(message.people.length)],
    ["main", message.main === null ? "main person" : `main person, for ${duration(message.main_since)}`,
      message.main === null ? "nobody" : `no. ${message.main}`],
  ]);
  const { name, provider, precision } = message.model;
  setText($("caption"), `${message.source} · ${name} on ${provider}, ${precision} · ${message.width} × ${message.height} · frame ${message.frame}`);
  setText($("where"), message.camera);
}
