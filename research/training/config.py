"""The configuration of a training: config.toml and changes to it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("config.toml")
Config = dict[str, Any]
# Crops that are drawn, and kept in memory, together.
GROUP = 32
# Of the maps that are compared; sides of the pictures are multiples of the largest one there.
MAP_STRIDES = (8, 16, 32)


def load_config(path: Path = FILE, *, cuda: bool, changes: list[str] | None = None) -> Config:
    """Reads the configuration.

    Args:
        path: A file like config.toml.
        cuda: Apply its section [cuda].
        changes: "section.name=value" or "seed=value", values as in TOML.

    Raises:
        ValueError: A change names nothing that exists.
    """
    config = tomllib.loads(path.read_text())
    for section, values in config.pop("cuda", {}).items():
        if cuda:
            config[section].update(values)
    for change in changes or []:
        name, _, value = change.partition("=")
        section, _, key = name.rpartition(".")
        target = config.get(section) if section else config
        if not isinstance(target, dict) or key not in target:
            raise ValueError(f"--set {change}: the configuration has no {name}")
        target[key] = tomllib.loads(f"value = {value}")["value"]
    return config


def config_digest(config: Config) -> str:
    """SHA-256 of the configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def check_config(config: Config) -> None:
    """Checks what does not fit together.

    Raises:
        ValueError: Batches and groups, or sizes and maps, do not.
    """
    data = config["data"]
    if data["batch"] % 2 or (data["groups"] and (data["batch"] % GROUP or data["groups"] * GROUP % data["batch"])):
        raise ValueError(
            f"data.batch is {data['batch']} and data.groups {data['groups']}: expected an even batch, and with "
            f"groups one that is a multiple of {GROUP} and divides data.groups x {GROUP}"
        )
    if config["loss"]["dense"] and any(size % MAP_STRIDES[-1] for size in data["student_sizes"]):
        raise ValueError(
            f"data.student_sizes are {data['student_sizes']}: expected multiples of {MAP_STRIDES[-1]}, where every "
            "network's maps have the same sides; or loss.dense=0"
        )
