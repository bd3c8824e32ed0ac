// The websocket: connects, connects again, keeps the clock, and hands on what arrives.

import { ServerClock } from "./clock.js";
import { readPacket } from "./protocol.js";

const firstWaitMs = 250;
const lastWaitMs = 2000;
// The server says something every second; a connection that is silent for so long is dead.
const silentMs = 5000;
const clockMs = 5000;
const firstClocks = 6;

export class Connection {
  clock = new ServerClock();
  #socket = null;
  #wait = firstWaitMs;
  #heard = 0;
  #wanted = { camera: null, paused: false };
  #handlers;

  // handlers: frame(packet, receivedAt), state(state), sign(connected, reason)
  constructor(handlers) {
    this.#handlers = handlers;
    setInterval(() => this.#look(), 1000);
    setInterval(() => this.#askClock(), clockMs);
    this.#open();
  }

  #open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/socket`);
    this.#socket = socket;
    this.#heard = performance.now();
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => this.#opened());
    socket.addEventListener("message", (event) => this.#received(event.data, performance.now()));
    socket.addEventListener("close", (event) => this.#closed(socket, event.reason));
  }

  #opened() {
    this.#handlers.sign(true, "");
    this.#heard = performance.now();
    if (this.#wanted.camera !== null) this.send({ type: "camera", name: this.#wanted.camera });
    if (this.#wanted.paused) this.send({ type: "pause", paused: true });
    for (let k = 0; k < firstClocks; k++) setTimeout(() => this.#askClock(), 60 * k);
  }

  #closed(socket, reason) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.clock.forget();
    this.#handlers.sign(false, reason);
    setTimeout(() => this.#open(), this.#wait);
    this.#wait = Math.min(2 * this.#wait, lastWaitMs);
  }

  #received(data, at) {
    this.#heard = at;
    if (typeof data !== "string") {
      this.#handlers.frame(readPacket(data), at);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "clock") {
      this.clock.add(message.t0, message.t1, message.t2, at);
    } else {
      this.#wait = firstWaitMs;
      this.#handlers.state(message);
    }
  }

  #askClock() {
    this.send({ type: "clock", t0: performance.now() });
  }

  // close() alone waits for an answer that a dead connection never gives.
  #look() {
    const socket = this.#socket;
    if (socket === null || performance.now() - this.#heard < silentMs) return;
    socket.close();
    this.#closed(socket, "the viewer is silent");
  }

  send(message) {
    if (this.#socket !== null && this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  chooseCamera(name) {
    this.#wanted.camera = name;
    this.send({ type: "camera", name });
  }

  pause(paused) {
    this.#wanted.paused = paused;
    this.send({ type: "pause", paused });
  }
}
