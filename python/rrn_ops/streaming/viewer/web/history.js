// Latency and number of people over the last two minutes, the largest of each second; a second without a frame is a gap.

import { $, svg } from "./dom.js";

const seconds = 120;
const plot = { width: 600, height: 150, left: 34, right: 26, top: 10, bottom: 20 };

export class History {
  #buckets = new Map();

  constructor() {
    setInterval(() => document.hidden || this.#draw(), 1000);
    this.#draw();
  }

  add(latency, people) {
    const second = Math.floor(performance.now() / 1000);
    const bucket = this.#buckets.get(second) ?? { latency: null, people: 0 };
    if (latency !== null) bucket.latency = Math.max(bucket.latency ?? 0, latency);
    bucket.people = Math.max(bucket.people, people);
    this.#buckets.set(second, bucket);
  }

  clear() {
    this.#buckets.clear();
  }

  #draw() {
    const now = Math.floor(performance.now() / 1000);
    for (const second of this.#buckets.keys()) if (second <= now - seconds) this.#buckets.delete(second);
    plot.width = Math.max(260, $("history").clientWidth || 600);
    const found = [...this.#buckets.entries()];
    const most = {
      latency: nice(Math.max(10, ...found.map(([, bucket]) => bucket.latency ?? 0))),
      people: Math.max(2, ...found.map(([, bucket]) => bucket.people)),
    };
    const x = (second) => plot.left + ((second - now + seconds - 1) / (seconds - 1)) * (plot.width - plot.left - plot.right);
    const y = (share) => plot.height - plot.bottom - share * (plot.height - plot.top - plot.bottom);
    const parts = this.#axes(most, y);
    for (const what of ["people", "latency"]) {
      const points = found.map(([second, bucket]) => [second, bucket[what]]).filter(([, value]) => value !== null);
      parts.push(svg("path", { class: `of-${what}`, d: line(points, x, (value) => y(value / most[what])) }));
    }
    const chart = $("history");
    chart.setAttribute("viewBox", `0 0 ${plot.width} ${plot.height}`);
    const last = found.at(-1)?.[1];
    chart.setAttribute("aria-label", last === undefined ? "no frame in the last two minutes"
      : `at the end ${last.people} people${last.latency === null ? "" : `, ${Math.round(last.latency)} ms`}; at most ${most.people} people`);
    chart.replaceChildren(...parts);
  }

  #axes(most, y) {
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      parts.push(svg("line", { class: "grid", x1: plot.left, x2: plot.width - plot.right, y1: y(share), y2: y(share) }));
      parts.push(svg("text", { x: plot.left - 6, y: y(share) + 4, "text-anchor": "end" }, String(Math.round(most.latency * share))));
    }
    for (const share of [0, 1]) {
      parts.push(svg("text", { class: "of-people", x: plot.width - plot.right + 6, y: y(share) + 4 }, String(Math.round(most.people * share))));
    }
    parts.push(svg("text", { x: plot.left, y: plot.height - 4 }, "−2 min"));
    parts.push(svg("text", { x: plot.width - plot.right, y: plot.height - 4, "text-anchor": "end" }, "now"));
    return parts;
  }
}

// 1, 2 or 5 times a power of ten.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function line(points, x, y) {
  let before = null;
  let path = "";
  for (const [second, value] of points) {
    path += `${before === second - 1 ? "L" : "M"}${x(second).toFixed(1)} ${y(value).toFixed(1)}`;
    // A point without neighbours is a short stroke.
    if (before !== second - 1) path += "h0.01";
    before = second;
  }
  return path;
}
