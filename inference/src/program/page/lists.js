"use strict";

// Lists to take away: the redundant images as text, JSON and CSV; copied, or saved as a file.

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
