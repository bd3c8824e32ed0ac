"""The topics of a camera, and what of Home Assistant's MQTT discovery describes them.

Home Assistant's documents "MQTT discovery", "Binary sensor", "Camera" and "Sensor" name the fields.
"""

from __future__ import annotations

import dataclasses
import json
import re

from rrn_native.files import sha256_of_bytes

ONLINE, OFFLINE = b"online", b"offline"
_CAMERA = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclasses.dataclass(frozen=True)
class Topics:
    """Where a camera publishes.

    Attributes:
        prefix: What the topics begin with.
        camera: The camera's name: 1 ... 64 letters, digits, "_" and "-".
    """

    prefix: str
    camera: str

    def __post_init__(self) -> None:
        if not _CAMERA.fullmatch(self.camera):
            raise ValueError(f'camera {self.camera!r}: expected 1 to 64 letters, digits, "_" and "-"')

    def _of(self, part: str) -> str:
        return f"{self.prefix}/{self.camera}/{part}"

    @property
    def frame(self) -> str:
        """People, times and counters of each frame, JSON."""
        return self._of("frame")

    @property
    def picture(self) -> str:
        """The JPEG file of the same frame."""
        return self._of("picture")

    @property
    def status(self) -> str:
        """Retained: online or offline."""
        return self._of("status")

    @property
    def main(self) -> str:
        """Retained: whether there is a main person, JSON."""
        return self._of("main")

    @property
    def stats(self) -> str:
        """Retained: rates and percentiles, and what the source and the broker have to say, JSON."""
        return self._of("stats")


def home_assistant(topics: Topics, discovery: str) -> dict[str, bytes]:
    """Returns the retained messages that make Home Assistant show the camera, by topic.

    Args:
        topics: The camera's.
        discovery: Home Assistant's prefix, usually "homeassistant".
    """
    # Prefix and camera may have "_" in them, so the two names alone could be those of another camera.
    unique = f"rrn_{topics.camera}_{sha256_of_bytes(topics.frame.encode())[:8]}"
    device = {"identifiers": [unique], "name": f"rrn {topics.camera}", "manufacturer": "rrn", "model": "rrn watch"}
    common = {"availability_topic": topics.status, "device": device}
    entities = {
        "binary_sensor/person": {
            "name": "Person",
            "device_class": "occupancy",
            "state_topic": topics.main,
            "value_template": "{{ 'ON' if value_json.present else 'OFF' }}",
        },
        "camera/picture": {"name": "Picture", "topic": topics.picture},
        "sensor/fps": {
            "name": "Frames a second",
            "state_topic": topics.stats,
            "value_template": "{{ value_json.published_fps }}",
            "unit_of_measurement": "fps",
            "state_class": "measurement",
        },
    }
    messages = {}
    for place, entity in entities.items():
        kind, name = place.split("/")
        config = {**common, **entity, "unique_id": f"{unique}_{name}", "object_id": f"{unique}_{name}"}
        messages[f"{discovery}/{kind}/{unique}/{name}/config"] = json.dumps(config).encode()
    return messages
