"use strict";

// The histogram of similarities and its marker, which sets the threshold.

const plot = { left: 44, right: 14, top: 20, bottom: 34, height: 150, width: 600, low: 0 };

function svg(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const plotX = (similarity) =>
  plot.left + ((similarity - plot.low) / (1 - plot.low)) * (plot.width - plot.left - plot.right);

function drawHistogram() {
  const { counts } = data.histogram;
  const filled = counts.findIndex((count) => count > 0);
  // Bins are 0.01 wide from -1 on; the axis begins at a multiple of 0.1.
  plot.low = Math.floor(Math.min(filled < 0 ? 150 : filled, 100 * data.floor + 100, 170) / 10) / 10 - 1;
  plot.width = Math.max(280, $("histogram").clientWidth);
  const most = Math.max(1, ...counts);
  // A bar of one pair must be seen, so the axis begins below 1.
  const lift = 0.4;
  const bottom = plot.height - plot.bottom;
  const y = (count) => bottom - ((Math.log10(count) + lift) / (Math.log10(most) + lift)) * (bottom - plot.top);
  const parts = [];
  const powers = Math.floor(Math.log10(most));
  for (let power = 0; power <= powers; power += Math.max(1, Math.ceil(powers / 4))) {
    parts.push(svg("line", { class: "grid", x1: plot.left, x2: plot.width - plot.right, y1: y(10 ** power), y2: y(10 ** power) }));
    parts.push(svg("text", { x: plot.left - 6, y: y(10 ** power) + 4, "text-anchor": "end" },
      10 ** (power % 3) + ["", "k", "M", "G"][Math.floor(power / 3)]));
  }
  const step = plot.width < 420 && plot.low < 0.4 ? 0.2 : 0.1;
  for (let tick = 1; tick >= plot.low - 1e-9; tick -= step) {
    parts.push(svg("text", { x: plotX(tick), y: bottom + 15, "text-anchor": "middle" }, tick.toFixed(1)));
  }
  parts.push(svg("text", { x: (plot.left + plot.width - plot.right) / 2, y: plot.height - 4, "text-anchor": "middle" }, "similarity"));
  parts.push(svg("text", { x: 12, y: (plot.top + bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(plot.top + bottom) / 2})` },
    "pairs (log)"));
  const width = (plotX(1) - plotX(0.99)) * 0.86;
  counts.forEach((count, i) => {
    const low = i / 100 - 1;
    if (count === 0 || low < plot.low - 1e-9) return;
    const bar = svg("rect", { x: plotX(low), y: y(count), width, height: bottom - y(count), rx: Math.min(1.5, width / 3), "data-low": low });
    bar.append(svg("title", {}, `${low.toFixed(2)} to ${(low + 0.01).toFixed(2)}: ${countText(count, "pair", "pairs")}`));
    parts.push(bar);
  });
  parts.push(svg("line", { class: "marker", id: "marker", y1: plot.top - 2, y2: bottom }));
  parts.push(svg("rect", { class: "flag", id: "flag", y: 2, width: 52, height: 17, rx: 5 }));
  parts.push(svg("text", { class: "flag-text", id: "flag-text", y: 15, "text-anchor": "middle" }));
  $("histogram").setAttribute("viewBox", `0 0 ${plot.width} ${plot.height}`);
  $("histogram").replaceChildren(...parts);
  drawMarker();
}

function drawMarker() {
  if (!$("marker")) return;
  const x = plotX(state.threshold);
  $("marker").setAttribute("x1", x);
  $("marker").setAttribute("x2", x);
  const flag = Math.min(Math.max(x, 28), plot.width - 28);
  $("flag").setAttribute("x", flag - 26);
  $("flag-text").setAttribute("x", flag);
  $("flag-text").textContent = String(Number(state.threshold.toFixed(4)));
  for (const bar of $("histogram").querySelectorAll("rect[data-low]")) {
    bar.setAttribute("class", Number(bar.dataset.low) + 0.005 > state.threshold ? "above" : "below");
  }
  const of = data.histogram.all ? "all pairs" : "a sample of pairs";
  $("histogram").setAttribute("aria-label", `Histogram of the similarities of ${of}, marker at ${state.threshold}`);
}

function thresholdAt(event) {
  const box = $("histogram").getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * plot.width;
  const share = (x - plot.left) / (plot.width - plot.left - plot.right);
  setThreshold(rounded(plot.low + share * (1 - plot.low)));
}
