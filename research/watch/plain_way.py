"""People over MQTT as one would write it without rrn: OpenCV, torchvision, base64 in JSON. Run by latency.py.

A reader and a detector in one loop, torchvision's SSDLite with MobileNetV3 at 320 pixels (the lightest detector that it
has), boxes and the picture as base64 in one JSON message. The weights are random, because the network's speed does not
depend on them; a score of at least 0.3 keeps the boxes of random weights from costing time.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import json
import sys
import time
from typing import Any

import cv2
import paho.mqtt.client as mqtt
import torch
from paho.mqtt.enums import CallbackAPIVersion

_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]


def load_torchvision() -> Any:
    """Imports torchvision, also where its compiled operators do not fit PyTorch; nms then does nothing at all."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            _LIBRARY.define(schema)  # type: ignore[no-untyped-call]
        _LIBRARY.impl("nms", lambda boxes, scores, _: torch.argsort(scores, descending=True), "CPU")  # type: ignore[no-untyped-call]
        found = importlib.import_module("torchvision")
        found.extension._has_ops = lambda: True
        return found


def main() -> int:
    """Publishes a video again and again until it is killed; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fps", type=float, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--height", type=int, required=True)
    arguments = parser.parse_args()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", arguments.port)
    client.loop_start()
    torch.manual_seed(1)
    detection = load_torchvision().models.detection
    model = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, score_thresh=0.3).eval()
    capture = cv2.VideoCapture(arguments.video)
    start, number = time.monotonic(), 0
    while True:
        read, frame = capture.read()
        if not read:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            continue
        # A camera's frame is there at its time, whether it is read or not.
        due = start + number / arguments.fps
        number += 1
        time.sleep(max(0.0, due - time.monotonic()))
        frame = cv2.resize(frame, (arguments.width, arguments.height))
        tensor = torch.from_numpy(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).permute(2, 0, 1).float() / 255
        detecting = time.monotonic()
        with torch.no_grad():
            output = model([tensor])[0]
        detected = time.monotonic()
        people = [
            {"box": box, "score": score}
            for box, score, label in zip(
                output["boxes"].tolist(), output["scores"].tolist(), output["labels"].tolist(), strict=True
            )
            if label == 1 and score > 0.5
        ]
        _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 75])
        message = {
            "captured": due,
            "detect": detected - detecting,
            "people": people,
            "image": base64.b64encode(jpeg.tobytes()).decode(),
        }
        client.publish("plain/frame", json.dumps(message))


if __name__ == "__main__":
    sys.exit(main())
