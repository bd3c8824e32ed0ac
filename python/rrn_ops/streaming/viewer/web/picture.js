// The picture with the boxes of that very frame, painted in one go; a frame that a newer one overtook is left out.

import { $ } from "./dom.js";

const mainColour = "#ffd43b";
const otherColour = "#ffffff";
const halo = "rgba(10, 14, 22, 0.75)";
// Where a browser paints nothing, as in a window that is covered, the frame is acknowledged all the same.
const paintMs = 1000;

export class Picture {
  #canvas = $("picture");
  #screen = $("screen");
  #context = this.#canvas.getContext("2d");
  #shown = null;
  #waiting = null;
  #number = 0;

  constructor() {
    new ResizeObserver(() => this.#shown !== null && this.#paint(this.#shown)).observe(this.#screen);
  }

  // Calls done(paintedAt, ok) once: when the frame is on the screen (ok), or with null when it never will be.
  async show(packet, done) {
    const number = ++this.#number;
    let bitmap = null;
    if (packet.jpeg !== null) {
      try {
        bitmap = await createImageBitmap(packet.jpeg);
      } catch {
        done(null, false);
        return;
      }
    }
    if (this.#waiting !== null && this.#waiting.number < number) this.#leaveOut();
    if (this.#waiting !== null || number < (this.#shown?.number ?? 0)) {
      bitmap?.close();
      done(null, true);
      return;
    }
    this.#waiting = { number, message: packet.message, bitmap, done };
    this.#schedule(this.#waiting);
  }

  #leaveOut() {
    const { bitmap, done } = this.#waiting;
    this.#waiting = null;
    bitmap?.close();
    done(null, true);
  }

  #schedule(frame) {
    const timer = setTimeout(() => this.#waiting === frame && this.#leaveOut(), paintMs);
    requestAnimationFrame(() => {
      clearTimeout(timer);
      if (this.#waiting !== frame) return;
      this.#waiting = null;
      this.#shown?.bitmap?.close();
      this.#shown = frame;
      this.#paint(frame);
      // The task after this one runs when the frame was handed to the compositor.
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        frame.done(performance.now(), true);
      };
      port2.postMessage(null);
    });
  }

  #paint({ message, bitmap }) {
    const { width, height } = message;
    this.#screen.style.aspectRatio = `${width} / ${height}`;
    this.#screen.style.maxWidth = `min(100%, ${(70 * width) / height}vh)`;
    const ratio = Math.min(window.devicePixelRatio || 1, 3);
    const shown = Math.max(1, this.#screen.clientWidth);
    const canvas = this.#canvas;
    const wide = Math.round(shown * ratio);
    const high = Math.round((shown * ratio * height) / width);
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    const context = this.#context;
    if (bitmap !== null) {
      context.drawImage(bitmap, 0, 0, wide, high);
    } else {
      context.fillStyle = "#20262f";
      context.fillRect(0, 0, wide, high);
    }
    const unit = ratio * Math.max(1, Math.min(1.6, shown / 640));
    const others = message.people.filter((person) => person.id !== message.main);
    const main = message.people.find((person) => person.id === message.main);
    const predicted = (person) => message.source === "tracked" || person.age > 0;
    for (const person of others) this.#box(person, { scale: wide / width, unit, colour: otherColour, line: 1.5, dashed: predicted(person) });
    if (main !== undefined) {
      const style = { scale: wide / width, unit, colour: mainColour, line: 3, dashed: predicted(main) };
      this.#box(main, style);
      this.#label(main, style);
    }
    Object.assign(canvas.dataset, { camera: message.camera, session: message.session, frame: message.frame });
  }

  // A dark line below the bright one keeps a box visible on any picture.
  #box({ box }, { scale, unit, colour, line, dashed }) {
    const context = this.#context;
    const [left, top, right, bottom] = box.map((value) => value * scale);
    context.setLineDash(dashed ? [7 * unit, 5 * unit] : []);
    for (const [stroke, width] of [[halo, line + 2], [colour, line]]) {
      context.strokeStyle = stroke;
      context.lineWidth = width * unit;
      context.strokeRect(left, top, right - left, bottom - top);
    }
    context.setLineDash([]);
  }

  #label({ box, score }, { scale, unit, colour }) {
    const context = this.#context;
    const text = `main person ${Math.round(100 * score)}%`;
    const high = 20 * unit;
    context.font = `600 ${12.5 * unit}px system-ui, sans-serif`;
    const wide = context.measureText(text).width + 14 * unit;
    const left = Math.max(0, Math.min(box[0] * scale - 1.5 * unit, this.#canvas.width - wide));
    const above = box[1] * scale - high - 3 * unit;
    const top = Math.max(0, Math.min(above >= 0 ? above : box[1] * scale + 3 * unit, this.#canvas.height - high));
    context.fillStyle = colour;
    context.beginPath();
    context.roundRect(left, top, wide, high, 5 * unit);
    context.fill();
    context.fillStyle = "#1b2230";
    context.textBaseline = "middle";
    context.fillText(text, left + 7 * unit, top + high / 2 + 0.5 * unit);
  }
}
