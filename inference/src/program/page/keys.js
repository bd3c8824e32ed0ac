"use strict";

// What the keys of the keyboard do.

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
