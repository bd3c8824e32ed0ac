// The people of the frame as a list, and what a screen reader is told of the main person.

import { $, make, setText } from "./dom.js";

const listMs = 250;
const announceMs = 4000;
const mostRows = 50;

const third = (value, whole, names) => names[Math.max(0, Math.min(2, Math.floor((3 * value) / whole)))];

function place({ box: [left, top, right, bottom] }, { width, height }) {
  const across = third((left + right) / 2, width, ["left", "centre", "right"]);
  const down = third((top + bottom) / 2, height, ["top", "middle", "bottom"]);
  return down === "middle" ? across : `${down} ${across}`;
}

export class People {
  #message = null;
  #listed = null;
  #announced;
  #main = null;
  #live = false;

  constructor() {
    setInterval(() => this.#list(), listMs);
    setInterval(() => this.#announce(), announceMs);
  }

  show(message) {
    this.#message = message;
    this.#main = message.main;
  }

  set live(live) {
    this.#live = live;
  }

  #list() {
    const message = this.#message;
    if (message === this.#listed) return;
    this.#listed = message;
    setText($("people-count"), String(message.people.length));
    const order = [...message.people].sort((a, b) => (b.id === message.main) - (a.id === message.main));
    const rows = order.slice(0, mostRows).map((person) => this.#row(person, message));
    if (order.length > mostRows) rows.push(make("li", { class: "hint" }, `and ${order.length - mostRows} more`));
    if (rows.length === 0) rows.push(make("li", { class: "hint" }, "nobody"));
    $("people").replaceChildren(...rows);
  }

  #row(person, message) {
    const [left, top, right, bottom] = person.box.map(Math.round);
    const isMain = person.id === message.main;
    return make("li", isMain ? { class: "main" } : {},
      make("span", { class: "who" }, isMain ? `Main person, number ${person.id}` : `Person ${person.id}`),
      make("span", { class: "score" }, `${Math.round(100 * person.score)}%`),
      make("span", { class: "hint" }, `${person.age > 0 || message.source === "tracked" ? "predicted, " : ""}${place(person, message)}, ${right - left} × ${bottom - top} px at ${left}, ${top}`));
  }

  #announce() {
    if (this.#message === null || !this.#live || this.#main === this.#announced) return;
    this.#announced = this.#main;
    setText($("announcer"), this.#main === null ? "Nobody is the main person." : `The main person is number ${this.#main}.`);
  }
}
