"""All photos, decoded once, as one tensor in the memory of the training device.

A pixel is one int32 (red, green, blue, alpha from the lowest byte up), so that a single gather fetches all channels,
and photos of any shape lie behind each other without padding. Each photo is there in several sizes, halved each time:
the sampler picks the size that fits and needs no further antialiasing.
"""

from __future__ import annotations

import concurrent.futures
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

LEVELS = 3


@dataclass
class PhotoBank:
    """Photos of one split.

    Attributes:
        pixels: int32 [total], all levels of all photos.
        offset: int64 [photos, LEVELS], where a level starts in `pixels`.
        width: int64 [photos, LEVELS].
        height: int64 [photos, LEVELS].
        weight: float32 [photos], how often a photo is to be drawn.
        group: int64 [photos], equal for parts of the same original.
        photos: Indices of the ordinary photos.
        cutouts: Indices of those with a transparent background.
    """

    pixels: torch.Tensor
    offset: torch.Tensor
    width: torch.Tensor
    height: torch.Tensor
    weight: torch.Tensor
    group: torch.Tensor
    photos: torch.Tensor
    cutouts: torch.Tensor

    def __len__(self) -> int:
        """The number of pictures."""
        return len(self.weight)

    @classmethod
    def from_arrays(
        cls, arrays: list[np.ndarray[Any, Any]], weights: list[float], groups: list[int], device: torch.device
    ) -> PhotoBank:
        """Makes a bank of uint8 [H, W, 4] arrays, with the weight and the group of each."""
        chunks: list[np.ndarray[Any, Any]] = []
        offset = np.zeros((len(arrays), LEVELS), np.int64)
        width, height = offset.copy(), offset.copy()
        position = 0
        for index, array in enumerate(arrays):
            image = Image.fromarray(array)
            for level in range(LEVELS):
                if level > 0 and min(image.size) >= 16:
                    image = image.reduce(2)
                offset[index, level], width[index, level], height[index, level] = position, image.width, image.height
                chunks.append(np.ascontiguousarray(image).reshape(-1))
                position += image.width * image.height
        pixels = np.concatenate(chunks).view(np.int32)
        cutout = np.array([array[..., 3].min() < 128 for array in arrays])
        return cls(
            pixels=torch.from_numpy(pixels).to(device),
            offset=torch.from_numpy(offset).to(device),
            width=torch.from_numpy(width).to(device),
            height=torch.from_numpy(height).to(device),
            weight=torch.tensor(weights, dtype=torch.float32, device=device),
            group=torch.tensor(groups, dtype=torch.int64, device=device),
            photos=torch.from_numpy(np.flatnonzero(~cutout)).to(device),
            cutouts=torch.from_numpy(np.flatnonzero(cutout)).to(device),
        )


def index_of(folder: Path, split: str) -> list[dict[str, Any]]:
    """Returns what the index says of the pictures of a split.

    Raises:
        FileNotFoundError: None in `folder`.
    """
    index = json.loads((folder / "index.json").read_text())
    pictures = [picture for picture in index["pictures"] if picture["split"] == split]
    if not pictures:
        raise FileNotFoundError(f"{folder} holds no pictures of the split {split!r}")
    return pictures


def decoder(
    folder: Path, pictures: list[dict[str, Any]]
) -> Callable[[dict[str, Any]], np.ndarray[Any, np.dtype[np.uint8]]]:
    """Reads the shards of pictures; returns what decodes one of them: uint8 [H, W, 4]."""
    shards = {name: (folder / name).read_bytes() for name in {picture["shard"] for picture in pictures}}

    def decode(picture: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        start = picture["offset"]
        with Image.open(io.BytesIO(shards[picture["shard"]][start : start + picture["length"]])) as image:
            return np.asarray(image.convert("RGBA"))

    return decode


def load_bank(folder: Path, split: str, device: torch.device, photograph_weight: float = 1.0) -> PhotoBank:
    """Decodes the pictures of `split` that prepare.py packed.

    Args:
        folder: Where it packed them.
        split: "train" or "held_out".
        device: Where the pixels are to be.
        photograph_weight: A positive factor on the weights of pictures whose source is mostly photographs.

    Raises:
        FileNotFoundError: None in `folder`.
        ValueError: `photograph_weight` is not positive, or is not 1 although the index does not tell photographs.
    """
    pictures = index_of(folder, split)
    if photograph_weight <= 0:
        raise ValueError(f"data.photograph_weight is {photograph_weight}: expected a positive number")
    if photograph_weight != 1 and "photographs" not in pictures[0]:
        raise ValueError(f"{folder} does not say which pictures are photographs: pack it again with prepare.py")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        arrays = list(pool.map(decoder(folder, pictures), pictures))
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(picture["photo"], len(numbers)) for picture in pictures]
    weights = [picture["weight"] * (photograph_weight if picture.get("photographs") else 1.0) for picture in pictures]
    return PhotoBank.from_arrays(arrays, weights, groups, device)
