"use strict";

// Grouping -----------------------------------------------------------------------------------------------------------

/**
 * Similar pairs, ready to be grouped at any threshold.
 * @param {number} count of images
 * @param {number[]} first positions of images, as in `second`; first[i] and second[i] are a pair
 * @param {number[]} second
 * @param {number[]} similarity shortest decimals of float32 numbers
 * @return {{count: number, begin: Uint32Array, neighbour: Uint32Array, value: Float32Array, exact: Float64Array}} the
 *     neighbours of image r are at begin[r] ... begin[r + 1] - 1, the most similar first
 */
function makePairs(count, first, second, similarity) {
  const order = Uint32Array.from(similarity.keys()).sort((a, b) => similarity[b] - similarity[a] || a - b);
  const begin = new Uint32Array(count + 1);
  for (const row of first) begin[row + 1] += 1;
  for (const row of second) begin[row + 1] += 1;
  for (let row = 0; row < count; row += 1) begin[row + 1] += begin[row];
  const next = begin.slice();
  const neighbour = new Uint32Array(2 * order.length);
  const value = new Float32Array(2 * order.length);
  const exact = new Float64Array(2 * order.length);
  const put = (row, other, pair) => {
    const at = next[row];
    next[row] += 1;
    neighbour[at] = other;
    value[at] = similarity[pair];
    exact[at] = similarity[pair];
  };
  for (const pair of order) {
    put(first[pair], second[pair], pair);
    put(second[pair], first[pair], pair);
  }
  return { count, begin, neighbour, value, exact };
}

/**
 * The rule of rrn/search.h, to the bit: rows in descending order of their number of similar ones (equal numbers: in
 * order of position); a row that is similar to no earlier representative becomes one; every other row joins the representative
 * it is most similar to, the earlier one in position at equal similarity.
 * @param {ReturnType<makePairs>} pairs all pairs above some floor
 * @param {number} threshold at least that floor
 * @param {number[] | null} rank of every row, if the order is given instead; lower ranks come first
 * @return {{groups: {representative: number, members: {index: number, similarity: number}[]}[], unique: number}}
 *     groups by position of the representative, members by descending similarity, then by position
 */
function groupByRepresentative(pairs, threshold, rank) {
  const { count, begin, neighbour, value, exact } = pairs;
  // The program compares float32 numbers.
  const limit = Math.fround(threshold);
  const similar = new Uint32Array(count);
  const connected = [];
  for (let row = 0; row < count; row += 1) {
    let at = begin[row];
    while (at < begin[row + 1] && value[at] > limit) at += 1;
    similar[row] = at - begin[row];
    if (similar[row] > 0) connected.push(row);
  }
  connected.sort(rank ? (a, b) => rank[a] - rank[b] : (a, b) => similar[b] - similar[a] || a - b);

  const none = 0xffffffff;
  const owner = new Uint32Array(count).fill(none);
  const best = new Float32Array(count);
  const bestExact = new Float64Array(count);
  let representatives = 0;
  for (const row of connected) {
    if (owner[row] !== none) continue;
    representatives += 1;
    for (let at = begin[row]; at < begin[row] + similar[row]; at += 1) {
      const other = neighbour[at];
      if (owner[other] === none || value[at] > best[other] || (value[at] === best[other] && row < owner[other])) {
        owner[other] = row;
        best[other] = value[at];
        bestExact[other] = exact[at];
      }
    }
  }

  const members = new Map();
  for (const row of connected) {
    if (owner[row] === none) continue;
    if (!members.has(owner[row])) members.set(owner[row], []);
    members.get(owner[row]).push({ index: row, similarity: bestExact[row] });
  }
  const groups = [...members].map(([representative, list]) => {
    list.sort((a, b) => b.similarity - a.similarity || a.index - b.index);
    return { representative, members: list };
  });
  groups.sort((a, b) => a.representative - b.representative);
  return { groups, unique: representatives + count - connected.length };
}

// The page -----------------------------------------------------------------------------------------------------------

const GROUPS_AT_ONCE = 24;
const CARDS_AT_ONCE = 24;
const MOST_BLOCKS = 64;
// The float32 below 0.999: what is above it is 0.999 or more.
const BELOW_EXACT = Math.fround(0.999) - 2 ** -24;
// The slider's end: exact copies. The largest float32 below 1 is the highest threshold that the program takes.
const SLIDER_END = 0.9999;
const HIGHEST = 1 - 2 ** -24;

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const pairs = makePairs(data.read, data.first, data.second, data.similarity);
const blocks = document.querySelectorAll("script.thumbnails");
const parsedBlocks = new Map();

const state = {
  threshold: data.threshold,
  result: { groups: [], unique: 0 }, // at the threshold
  exact: null, // the result of exact-looking images alone, while that filter is on
  shown: [], // groups after the filters
  rendered: 0,
  current: -1, // the group that the keys are at
  cards: [], // of the viewer: { index, similarity, representative }
  card: 0,
};

/** An element with a class, attributes and children (elements or texts). */
function make(tag, className, attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const nameOf = (index) => data.images[index][1];
const folderOf = (index) => data.folders[data.images[index][0]][0];
const pathOf = (index) => folderOf(index) + nameOf(index);
const isMarked = (text) => /\p{Surrogate}/u.test(text);

/** A path for people: what is no text, or would turn or break the line, is replaced. */
function readable(text) {
  return text
    .replace(/\p{Surrogate}/gu, "\ufffd")
    .replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, "\ufffd");
}

/** A link to the file, whose name may hold any bytes: those that are no UTF-8 are lone surrogates in the data. */
function linkTo(index) {
  let url = data.folders[data.images[index][0]][1];
  for (const c of nameOf(index)) {
    const code = c.codePointAt(0);
    url += code >= 0xdc80 && code <= 0xdcff ? "%" + (code - 0xdc00).toString(16).toUpperCase() : encodeURIComponent(c);
  }
  return url;
}

/** Text to bytes, with lone surrogates as the bytes that they stand for. */
function toBytes(text) {
  const encoder = new TextEncoder();
  const parts = text
    .split(/([\udc80-\udcff])/u)
    .map((part, i) => (i % 2 === 1 ? Uint8Array.of(part.charCodeAt(0) - 0xdc00) : encoder.encode(part)));
  return new Blob(parts);
}

function bytesText(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)} ${units[unit]}`;
}

const countText = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const similarityText = (similarity) => similarity.toFixed(4);

function sizeText(index) {
  const [, , width, height, bytes] = data.images[index];
  return (width > 0 ? [`${width} × ${height}`] : []).concat(bytes > 0 ? [bytesText(bytes)] : []).join(" · ");
}

/** The thumbnail as a data: URL; empty without one. */
function thumbnail(index) {
  const number = Math.floor(index / data.block);
  if (!parsedBlocks.has(number)) {
    if (parsedBlocks.size >= MOST_BLOCKS) parsedBlocks.delete(parsedBlocks.keys().next().value);
    parsedBlocks.set(number, JSON.parse(blocks[number].textContent));
  }
  const text = parsedBlocks.get(number)[index % data.block];
  return text ? "data:image/jpeg;base64," + text : "";
}

function picture(index) {
  const source = thumbnail(index);
  if (!source) return make("span", "none", {}, "no preview");
  return make("img", "", { src: source, alt: readable(nameOf(index)), decoding: "async" });
}

// Pictures are in the document only near what is seen.
const nearby = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !target.firstChild) target.append(picture(Number(target.dataset.index)));
      if (!isIntersecting) target.replaceChildren();
    }
  },
  { rootMargin: "500px 0px" },
);

/** The text with what is searched for marked. */
function highlighted(text, wanted) {
  const at = wanted ? text.toLowerCase().indexOf(wanted) : -1;
  if (at < 0) return [text];
  return [text.slice(0, at), make("mark", "", {}, text.slice(at, at + wanted.length)), text.slice(at + wanted.length)];
}

/** One image: `card` says which, and how similar to which representative (null for the representative itself). */
function makeCard(card, badge, label) {
  const { index } = card;
  const wanted = searched();
  const path = pathOf(index);
  const thumb = make("button", "thumb", {
    type: "button",
    "data-index": index,
    "aria-label": `Enlarge ${readable(path)}${label ? ", " + label : ""}`,
  });
  thumb.addEventListener("click", () => openViewer(thumb.closest("ul").cards, card));
  nearby.observe(thumb);
  const name = make("a", "name", { href: linkTo(index), target: "_blank", title: readable(path) });
  name.append(...highlighted(readable(nameOf(index)), wanted));
  const item = make("li", card.similarity === null && badge ? "card first" : "card", {}, thumb);
  if (badge) item.append(make("span", "badge", { title: card.similarity === null ? "" : card.similarity }, badge));
  item.append(name);
  if (isMarked(path)) {
    item.append(make("span", "mark", { title: "The bytes of this name are not UTF-8; the link is to the right file" }, "name is not UTF-8"));
  }
  item.append(make("span", "folder", {}, ...highlighted(readable(folderOf(index)), wanted)));
  item.append(make("span", "size", {}, sizeText(index)));
  return item;
}

/** Appends cards to a list, and a button for the rest if they are many. */
function appendCards(list, cards, from, makeOne) {
  const end = cards.length - from > 1.5 * CARDS_AT_ONCE ? from + CARDS_AT_ONCE : cards.length;
  for (let i = from; i < end; i += 1) list.append(makeOne(cards[i]));
  if (end === cards.length) return;
  const button = make("button", "all", { type: "button" }, `show more (${countText(cards.length - end, "image", "images")})`);
  button.addEventListener("click", () => {
    button.remove();
    appendCards(list, cards, end, makeOne);
    list.children[end].querySelector("button").focus();
  });
  list.after(button);
}

const redundantBytes = (group) => group.members.reduce((sum, member) => sum + data.images[member.index][4], 0);

function makeGroup(group, position) {
  const size = group.members.length + 1;
  const low = similarityText(group.members[group.members.length - 1].similarity);
  const high = similarityText(group.members[0].similarity);
  const section = make("section", "group", {
    tabindex: "-1",
    "data-position": position,
    "aria-label": `Group ${group.number}, ${size} images`,
  });
  const facts = [
    `${size} images`,
    low === high ? `similarity ${low}` : `similarity ${low} to ${high}`,
    `${bytesText(redundantBytes(group))} redundant`,
  ];
  section.append(make("header", "", {}, make("h2", "", {}, `Group ${group.number}`), make("p", "", {}, facts.join(" · "))));
  const list = make("ul", "cards");
  list.cards = [{ index: group.representative, similarity: null, representative: group.representative }].concat(
    group.members.map(({ index, similarity }) => ({ index, similarity, representative: group.representative })),
  );
  section.append(list);
  appendCards(list, list.cards, 0, (card) =>
    card.similarity === null
      ? makeCard(card, "representative", "representative of the group")
      : makeCard(card, similarityText(card.similarity), `similarity ${similarityText(card.similarity)}`),
  );
  return section;
}

function renderMore() {
  const end = Math.min(state.rendered + GROUPS_AT_ONCE, state.shown.length);
  const part = document.createDocumentFragment();
  for (; state.rendered < end; state.rendered += 1) part.append(makeGroup(state.shown[state.rendered], state.rendered));
  $("groups").append(part);
}

const moreWanted = new IntersectionObserver(
  (entries) => {
    if (!entries.some((entry) => entry.isIntersecting) || state.rendered >= state.shown.length) return;
    renderMore();
    // If the end is still in sight, the observer must be told to look again.
    moreWanted.unobserve($("more"));
    moreWanted.observe($("more"));
  },
  { rootMargin: "1000px 0px" },
);

const searched = () => $("search").value.toLowerCase();

/** The groups that pass the filters, in the chosen order. */
function filtered() {
  const wanted = searched();
  const smallest = Math.max(2, Number($("smallest").value) || 2);
  const has = (index) => pathOf(index).toLowerCase().includes(wanted);
  let groups = (state.exact || state.result).groups.map((group, i) => ({ ...group, number: i + 1 }));
  groups = groups.filter(
    (group) =>
      group.members.length + 1 >= smallest &&
      (!wanted || has(group.representative) || group.members.some((member) => has(member.index))),
  );
  const by = {
    size: (a, b) => b.members.length - a.members.length,
    bytes: (a, b) => redundantBytes(b) - redundantBytes(a),
    similarity: (a, b) => b.members[0].similarity - a.members[0].similarity,
    path: () => 0,
  }[$("order").value];
  return groups.sort((a, b) => by(a, b) || a.representative - b.representative);
}

/** Images in no group, as cards. */
function singles() {
  const grouped = new Set(state.result.groups.flatMap((group) => [group.representative, ...group.members.map((m) => m.index)]));
  const wanted = searched();
  const cards = [];
  for (let index = 0; index < data.read; index += 1) {
    if (!grouped.has(index) && (!wanted || pathOf(index).toLowerCase().includes(wanted))) {
      cards.push({ index, similarity: null, representative: index });
    }
  }
  return cards;
}

function renderSingles() {
  const section = $("ungrouped");
  section.hidden = !$("singles").checked;
  section.replaceChildren();
  if (section.hidden) return;
  const list = make("ul", "cards");
  list.cards = singles();
  section.append(make("h2", "", {}, "In no group ", make("span", "", {}, countText(list.cards.length, "image", "images"))), list);
  appendCards(list, list.cards, 0, (card) => makeCard(card, "", ""));
}

const exactThreshold = () => Math.max(state.threshold, data.floor, BELOW_EXACT);
/** The threshold of the groups that are shown. */
const shownThreshold = () => (state.exact ? exactThreshold() : state.threshold);

/** Applies the filters and shows what is left. */
function render() {
  nearby.disconnect();
  // Copies of each other may be similar to a third image first, so they are groups of their own here.
  state.exact = $("exact").checked ? groupByRepresentative(pairs, exactThreshold(), data.rank) : null;
  state.shown = filtered();
  state.rendered = 0;
  state.current = -1;
  $("groups").replaceChildren();
  renderMore();
  moreWanted.unobserve($("more"));
  moreWanted.observe($("more"));
  renderSingles();

  const all = (state.exact || state.result).groups.length;
  const redundant = state.shown.reduce((sum, group) => sum + group.members.length, 0);
  $("shown").textContent =
    (state.shown.length === all ? `All ${countText(all, "group", "groups")}` : `${state.shown.length.toLocaleString("en")} of ${countText(all, "group", "groups")}`) +
    (state.exact ? " of exact-looking images shown; the counts above are of the threshold." : " shown.") +
    " List, JSON and CSV hold what is shown.";
  $("empty").hidden = state.shown.length > 0;
  $("empty").textContent = all > 0 ? "No group passes the filters." : `No two images are more similar than ${shownThreshold()}.`;
  for (const id of ["copy", "save-list", "save-csv"]) $(id).disabled = redundant === 0;
  $("copy").title = `${countText(redundant, "path", "paths")}: all images of the shown groups but the first of each`;
}

/** Makes the groups at the current threshold. */
function regroup() {
  if (state.threshold >= data.floor) {
    state.result = groupByRepresentative(pairs, state.threshold, data.rank);
  } else {
    // The run's own threshold, below what the pairs reach: its groups came along.
    const groups = data.groups.map(([representative, members]) => ({
      representative,
      members: members.map(([index, similarity]) => ({ index, similarity })),
    }));
    const redundant = groups.reduce((sum, group) => sum + group.members.length, 0);
    state.result = { groups, unique: data.read - redundant };
  }
  const redundant = state.result.groups.flatMap((group) => group.members.map((member) => member.index));
  const bytes = redundant.reduce((sum, index) => sum + data.images[index][4], 0);
  const values = {
    files: data.files,
    read: data.read,
    skipped: data.skipped.length,
    groups: state.result.groups.length,
    unique: state.result.unique,
    redundant: redundant.length,
  };
  $("tiles").replaceChildren(
    ...Object.entries(values).map(([key, value]) =>
      make("div", key === "groups" || key === "unique" ? "strong" : "", { "data-key": key },
        make("dt", "", {}, key === "redundant" ? `redundant · ${bytesText(bytes).replace(" ", "\u00a0")}` : key),
        make("dd", "", {}, value.toLocaleString("en"))),
    ),
  );
  $("counts").replaceChildren(
    make("b", "", {}, countText(values.groups, "group", "groups")), ` · `,
    make("b", "", {}, `${values.unique.toLocaleString("en")} unique`),
    ` of ${countText(values.read, "image", "images")} · ${countText(values.redundant, "redundant file", "redundant files")}, ${bytesText(bytes)}`,
  );
  render();
}

let pending = false;

/** Sets the threshold and shows its groups in the next frame. Only the run's own may be below the floor. */
function setThreshold(value, keepNumber) {
  const own = value === data.threshold;
  state.threshold = own ? value : Math.min(Math.max(value, data.floor), Math.max(HIGHEST, data.floor));
  $("slider").value = state.threshold;
  $("slider").setAttribute("aria-valuetext", String(state.threshold));
  if (!keepNumber) $("threshold").value = state.threshold;
  $("reset").disabled = state.threshold === data.threshold;
  drawMarker();
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    regroup();
  });
}

const rounded = (value) => Math.min(Math.round(value * 1000) / 1000, SLIDER_END);

// Histogram ----------------------------------------------------------------------------------------------------------

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

// Viewer -------------------------------------------------------------------------------------------------------------

function openViewer(cards, card) {
  state.cards = cards;
  state.card = cards.indexOf(card);
  showCard();
  $("viewer").showModal();
}

function pane(index, title) {
  const link = make("a", "name", { href: linkTo(index), target: "_blank" }, readable(pathOf(index)));
  return make("div", "pane", {},
    make("div", "picture", {}, picture(index)),
    make("span", "folder", {}, title), link, make("span", "size", {}, sizeText(index)),
    make("a", "size", { href: linkTo(index), target: "_blank" }, "open the original"));
}

function showCard() {
  const { index, similarity, representative } = state.cards[state.card];
  const panes = [pane(index, index === representative ? "" : "this image")];
  if (index !== representative) panes.unshift(pane(representative, "representative"));
  $("panes").replaceChildren(...panes);
  $("verdict").textContent =
    `${state.card + 1} of ${state.cards.length}` +
    (similarity === null ? "" : ` · similarity ${similarity} to the representative`) +
    " · previews, enlarged";
  $("previous").disabled = state.card === 0;
  $("next").disabled = state.card === state.cards.length - 1;
}

function moveCard(step) {
  const to = state.card + step;
  if (to < 0 || to >= state.cards.length) return;
  state.card = to;
  showCard();
}

// Lists to take away -------------------------------------------------------------------------------------------------

/** A path on a line of its own: a line break in a name must not make another path of its rest. */
const oneLine = (path) => path.replace(/\\/g, "\\\\").replace(/\n/g, "\\n").replace(/\r/g, "\\r");
const redundantPaths = () => state.shown.flatMap((group) => group.members.map((member) => pathOf(member.index)));
const redundantList = () => redundantPaths().map((path) => oneLine(path) + "\n").join("");

/** Groups as `similarity --json` writes them, with all digits; lone surrogates for bytes that are no UTF-8, as there. */
function groupsJson() {
  const byRepresentative = [...state.shown].sort((a, b) => a.representative - b.representative);
  const groups = byRepresentative.map((group) => ({
    representative: pathOf(group.representative),
    members: group.members.map(({ index, similarity }) => ({ path: pathOf(index), similarity })),
  }));
  const { groups: all, unique } = state.exact || state.result;
  const head = { version: 1, threshold: shownThreshold(), files: data.files, read: data.read };
  return JSON.stringify({ ...head, filtered: groups.length < all.length, groups, unique }, null, 1) + "\n";
}

function groupsCsv() {
  const field = (text) => (/[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const lines = state.shown.flatMap((group) => [
    [group.number, field(pathOf(group.representative)), ""],
    ...group.members.map(({ index, similarity }) => [group.number, field(pathOf(index)), similarity]),
  ]);
  return "group,path,similarity\n" + lines.map((line) => line.join(",") + "\n").join("");
}

function save(name, text) {
  const url = URL.createObjectURL(toBytes(text));
  make("a", "", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function copyByHand(text) {
  const area = make("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

async function copyList() {
  const text = redundantList();
  let copied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copied = copyByHand(text);
  }
  const paths = redundantPaths();
  const marked = paths.filter(isMarked).length;
  $("shown").textContent = !copied
    ? "The browser does not let the page copy; take the list as a file instead."
    : `Copied ${countText(paths.length, "path", "paths")}.` +
      (marked > 0 ? ` ${countText(marked, "name is", "names are")} not UTF-8 and cannot be copied as text; the list as a file is right.` : "");
}

// Keys ---------------------------------------------------------------------------------------------------------------

function goToGroup(step) {
  const focused = document.activeElement.closest(".group");
  const from = focused ? Number(focused.dataset.position) : state.current;
  const to = Math.min(Math.max(from + step, 0), state.shown.length - 1);
  if (to < 0) return;
  while (state.rendered <= to) renderMore();
  state.current = to;
  const group = $("groups").children[to];
  group.focus({ preventScroll: true });
  group.scrollIntoView({ block: "start" });
}

function goToCard(step) {
  const active = document.activeElement;
  const group = active.closest(".group, #ungrouped");
  if (!group) return false;
  const thumbs = [...group.querySelectorAll(".thumb")];
  const at = thumbs.indexOf(active);
  thumbs[Math.min(Math.max(at + step, 0), thumbs.length - 1)].focus();
  return true;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if ($("viewer").open) {
    if (event.key === "ArrowLeft") moveCard(-1);
    if (event.key === "ArrowRight") moveCard(1);
    return;
  }
  if ($("keys").open) return;
  if (target.matches("input:not([type=checkbox]), select")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const actions = {
    j: () => goToGroup(1),
    k: () => goToGroup(-1),
    ArrowRight: () => goToCard(1),
    ArrowLeft: () => goToCard(-1),
    "/": () => $("search").focus(),
    t: () => $("slider").focus(),
    "[": () => setThreshold(rounded(state.threshold - 0.01)),
    "]": () => setThreshold(rounded(state.threshold + 0.01)),
    u: () => $("singles").click(),
    "?": () => $("keys").showModal(),
    Enter: () => {
      if (!target.matches(".group")) return false;
      target.querySelector(".thumb").click();
      return true;
    },
  };
  const action = actions[event.key];
  if (action && action() !== false) event.preventDefault();
}

// Start --------------------------------------------------------------------------------------------------------------

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
