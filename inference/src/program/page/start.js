"use strict";

// Fills the page with what the run found, listens, and shows it.

function showFacts() {
  const roots = data.folders.map(([path]) => path);
  let root = roots.length > 0 ? roots[0] : "";
  for (const path of roots) {
    while (!path.startsWith(root)) root = root.slice(0, root.lastIndexOf("/", root.length - 2) + 1);
  }
  $("where").textContent = root ? `in ${readable(root)}` : "";
  const { model } = data;
  $("facts").textContent = [
    `${countText(data.read, "image", "images")} of ${countText(data.files, "file", "files")}`,
    `model ${readable(model.file)}`,
    `${model.size} pixels`,
    `${model.provider} ${model.precision}`,
    `threshold of the run ${data.threshold}`,
  ].join(" · ");
  const notes = [];
  if (data.floor > data.wanted) {
    notes.push(
      `There are more similar pairs than this page may carry (--html-pairs): it has the ${countText(data.first.length, "pair", "pairs")} ` +
        `above ${data.floor}, and thresholds from there on` +
        (data.threshold < data.floor ? `; the groups at the run's own threshold, ${data.threshold}, came along as they are.` : "."),
    );
  }
  if (data.limited) notes.push("Only the images with the most similar partners have a thumbnail here; for all, the page would be too big.");
  if (data.approximate) {
    const { pairs: all, found } = data.approximate;
    notes.push(`The search was approximate: of a sample of ${countText(all, "similar pair", "similar pairs")} it found ${found.toLocaleString("en")}.`);
  }
  $("notes").replaceChildren(...notes.map((note) => make("li", "", {}, note)));
  const { all, pairs: counted } = data.histogram;
  $("histogram-of").textContent = all
    ? `of all ${countText(counted, "pair", "pairs")}`
    : `of a sample of ${countText(counted, "pair", "pairs")}`;
  $("footer").textContent =
    `rrn ${data.rrn}` + (model.origin ? ` · weights: ${model.origin}` : "") + (model.sha256 ? ` · sha256 ${model.sha256}` : "");
}

function showSkipped() {
  if (data.skipped.length === 0) return;
  const list = make("ul");
  list.append(...data.skipped.map(([path, reason]) => make("li", "", {}, readable(path), make("span", "", {}, readable(reason)))));
  $("skipped").append(make("summary", "", {}, `Skipped: ${countText(data.skipped.length, "file", "files")}`), list);
  $("skipped").hidden = false;
}

function listen() {
  $("slider").addEventListener("input", (event) => setThreshold(rounded(Number(event.target.value))));
  $("threshold").addEventListener("input", (event) => {
    const value = parseFloat(event.target.value);
    if (value >= data.floor && value < 1) setThreshold(value, true);
  });
  $("threshold").addEventListener("change", (event) => {
    const value = parseFloat(event.target.value);
    setThreshold(Number.isNaN(value) ? data.threshold : value);
  });
  $("reset").addEventListener("click", () => setThreshold(data.threshold));
  for (const id of ["search", "smallest"]) $(id).addEventListener("input", render);
  for (const id of ["order", "exact"]) $(id).addEventListener("change", render);
  $("singles").addEventListener("change", renderSingles);
  $("copy").addEventListener("click", copyList);
  $("save-list").addEventListener("click", () => save("redundant.txt", redundantList()));
  $("save-json").addEventListener("click", () => save("groups.json", groupsJson()));
  $("save-csv").addEventListener("click", () => save("groups.csv", groupsCsv()));
  $("help").addEventListener("click", () => $("keys").showModal());
  $("previous").addEventListener("click", () => moveCard(-1));
  $("next").addEventListener("click", () => moveCard(1));
  for (const id of ["viewer", "keys"]) {
    // A click beside the dialog closes it.
    $(id).addEventListener("click", (event) => {
      if (event.target === $(id)) $(id).close();
    });
  }
  $("histogram").addEventListener("pointerdown", (event) => {
    $("histogram").setPointerCapture(event.pointerId);
    thresholdAt(event);
  });
  $("histogram").addEventListener("pointermove", (event) => {
    if ($("histogram").hasPointerCapture(event.pointerId)) thresholdAt(event);
  });
  document.addEventListener("keydown", onKey);
  new ResizeObserver(drawHistogram).observe($("histogram"));
}

function start() {
  const slider = $("slider");
  slider.min = Math.floor(data.floor * 1000) / 1000;
  slider.max = 1;
  slider.step = 0.001;
  $("threshold").min = data.floor;
  $("threshold").max = SLIDER_END;
  $("threshold").step = 0.01;
  $("reset").textContent = `reset to ${data.threshold}`;
  showFacts();
  showSkipped();
  listen();
  setThreshold(data.threshold);
}

start();
