"use strict";

// The page's state, its cards and groups, the viewer. CMake joins grouping.js, this file, histogram.js, lists.js,
// keys.js and start.js, in this order, into one script.

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
