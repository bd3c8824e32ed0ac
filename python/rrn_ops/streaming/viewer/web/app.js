// Brings the parts of the page together.

import { Connection } from "./connection.js";
import { $, make } from "./dom.js";
import { History } from "./history.js";
import { People } from "./people.js";
import { Picture } from "./picture.js";
import { keyOf } from "./protocol.js";
import { Status } from "./status.js";
import { showFrame, showState } from "./tables.js";

const picture = new Picture();
const status = new Status();
const people = new People();
const history = new History();
let paused = false;
let chosen = null;

const connection = new Connection({ frame, state, sign: (connected, reason) => status.sign(connected, reason) });

function frame(packet, receivedAt) {
  const { message, header } = packet;
  picture.show(packet, (paintedAt, ok) => {
    connection.send({
      type: "ack",
      ...keyOf(message),
      received_ms: connection.clock.at(receivedAt),
      painted_ms: paintedAt === null ? null : connection.clock.at(paintedAt),
    });
    if (paintedAt === null || !ok || (chosen !== null && message.camera !== chosen)) return;
    const onServer = connection.clock.at(paintedAt);
    const latency = header.same_clock && onServer !== null ? onServer - message.captured_ns / 1e6 : null;
    status.painted(packet, receivedAt - header.age_ms, latency);
    people.live = status.live;
    people.show(message);
    showFrame(message);
    // What was there before this page asked for it says nothing about the way.
    if (!header.old) history.add(latency, message.people.length);
  });
}

function state(found) {
  status.state(found);
  showState(found);
  showCameras(found);
}

function showCameras({ camera, cameras }) {
  const names = Object.keys(cameras);
  const select = $("camera");
  if (names.join() !== [...select.options].map((option) => option.value).join()) {
    select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  }
  if (document.activeElement !== select && camera !== null) select.value = camera;
  $("choose").hidden = names.length < 2;
}

// A page that nobody sees needs no pictures.
function tellPause() {
  connection.pause(paused || document.hidden);
}

$("camera").addEventListener("change", (event) => {
  chosen = event.target.value;
  history.clear();
  status.turn();
  connection.chooseCamera(chosen);
});

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
  status.pause(paused);
  tellPause();
});

document.addEventListener("visibilitychange", tellPause);
