// How the connections stand, and whether the picture may pass for live.

import { $, duration, setText } from "./dom.js";

const staleSeconds = 2;

export class Status {
  #connected = null;
  #reason = "";
  #state = null;
  #camera = null;
  #statuses = {};
  #newest = null;
  #delay = null;
  #paused = false;
  #picture = "waiting";

  constructor() {
    setInterval(() => this.show(), 200);
    this.show();
  }

  sign(connected, reason) {
    this.#connected = connected;
    this.#reason = reason;
    this.show();
  }

  state(state) {
    this.#state = state;
    this.#camera = state.camera;
    this.#statuses = Object.fromEntries(Object.entries(state.cameras).map(([name, { status }]) => [name, status]));
    this.show();
  }

  // A frame is on the screen: when the server had it, on this page's clock, and how old it was then (null: unknown).
  painted({ message, header }, hadAt, delay) {
    this.#camera = message.camera;
    this.#statuses = header.cameras;
    this.#newest = hadAt;
    this.#delay = delay;
    this.show();
  }

  pause(paused) {
    this.#paused = paused;
    this.show();
  }

  turn() {
    this.#newest = null;
    this.show();
  }

  get live() {
    return this.#picture === "live";
  }

  show() {
    const viewer = this.#connected ? ["good", "Viewer connected"]
      : this.#connected === null ? ["wait", "Viewer: connecting"]
      : ["bad", this.#reason ? `Viewer: ${this.#reason}` : "Viewer away, connecting again"];
    const known = this.#connected && this.#state !== null;
    const broker = !known ? ["wait", "Broker: unknown"]
      : this.#state.broker.connected ? ["good", "Broker connected"] : ["bad", "Broker away"];
    const status = known && broker[0] === "good" ? this.#statuses[this.#camera] ?? "unknown" : "unknown";
    const camera = { online: ["good", "Camera online"], offline: ["bad", "Camera offline"] }[status] ?? ["wait", "Camera: unknown"];
    this.#sign("viewer", viewer);
    this.#sign("broker", broker);
    this.#sign("camera", camera);
    $("signs").querySelector("[data-sign=broker]").title = known ? this.#state.broker.error : "";
    this.#showPicture();
  }

  #showPicture() {
    const age = this.#newest === null ? null : (performance.now() - this.#newest) / 1000;
    let sign = ["good", "Live"];
    let veil = "";
    let state = "live";
    if (this.#paused) [state, sign, veil] = ["paused", ["wait", "Paused"], "paused"];
    else if (age === null) [state, sign, veil] = ["waiting", ["wait", "No picture yet"], "no picture yet"];
    else if (age >= staleSeconds) {
      [state, sign, veil] = ["stale", ["bad", "Stalled"], `no picture for ${duration(age)}`];
    } else if (this.#delay !== null && this.#delay / 1000 >= staleSeconds) {
      [state, sign, veil] = ["late", ["bad", "Late"], `${duration(this.#delay / 1000)} late`];
    }
    this.#sign("picture", sign);
    setText($("veil"), veil);
    for (const id of ["stage", "main"]) $(id).dataset.state = state;
    if (state !== this.#picture) {
      if (state === "stale") setText($("alarm"), "The picture has stopped.");
      else if (this.#picture === "stale" && state === "live") setText($("alarm"), "The picture is live again.");
      this.#picture = state;
    }
  }

  #sign(name, [kind, text]) {
    const element = $("signs").querySelector(`[data-sign=${name}]`);
    element.dataset.kind = kind;
    setText(element, text);
  }
}
