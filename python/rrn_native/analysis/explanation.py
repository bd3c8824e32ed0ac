"""The cosine of two images, taken apart: what :mod:`rrn_native.analysis.explain` computes and plots draw."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from rrn_native.arrays import PixelArray

Doubles = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two images, and what its places contribute.

    Attributes:
        name: The file's name as it was given, or "first" and "second" for arrays.
        pixels: uint8 [height, width, 3], upright; large files at a fraction of their size.
        maps: One float64 [H_l, W_l] for each layer. All entries of all layers sum to the cosine.
        usual: The same maps for the average reference image: their sum is the mean cosine of this image with the
            reference images. None without ``against``.
    """

    name: str
    pixels: PixelArray = dataclasses.field(repr=False)
    maps: tuple[Doubles, ...] = dataclasses.field(repr=False)
    usual: tuple[Doubles, ...] | None = dataclasses.field(repr=False)

    @property
    def shares(self) -> Doubles:
        """The layers' shares seen from this image, float64 [layers]; they sum to the cosine."""
        return np.array([layer.sum() for layer in self.maps])

    @property
    def usual_shares(self) -> Doubles | None:
        """The layers' mean shares with the reference images, float64 [layers]; None without them."""
        return None if self.usual is None else np.array([layer.sum() for layer in self.usual])

    def specific_maps(self) -> tuple[Doubles, ...]:
        """Returns ``maps`` less ``usual``; ``maps`` without reference images."""
        if self.usual is None:
            return self.maps
        return tuple(layer - usual for layer, usual in zip(self.maps, self.usual, strict=True))

    def heat_map(self, layer: int | None = None, *, specific: bool = False) -> npt.NDArray[np.float32]:
        """Spreads the contributions over the picture.

        Args:
            layer: 0 for the first; None for the sum of all.
            specific: Take what is usual among the reference images away.

        Returns:
            float32 [height, width] of ``pixels``: the density of the share, so that the mean over the picture is the
            share (of the layer or, for all, the cosine). Layers of any resolution can be compared and added. The
            picture is interpolated linearly between the map's places; the mean is kept exactly where the picture's
            side is a multiple of the map's, else nearly.

        Raises:
            IndexError: There is no such layer.
        """
        maps = self.specific_maps() if specific else self.maps
        chosen = maps if layer is None else (maps[layer],)
        height, width = self.pixels.shape[:2]
        total = np.zeros((height, width))
        for each in chosen:
            total += _upsample(each * each.size, height, width)
        return total.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The cosine of two images, taken apart; see :mod:`rrn_native.analysis.explain` for the mathematics.

    Attributes:
        similarity: The cosine, in float64; equals the engine's up to float32 rounding.
        first: What the first image's places contribute.
        second: The same for the second image.
        matrix: float64 [layers, layers]: the first image's layer (row) with the second's (column). Rows sum to
            ``first.shares``, columns to ``second.shares``, everything to ``similarity``.
        reference_images: How many reference images ``against`` held; 0 without.
        model: The model's file name.
    """

    similarity: float
    first: Side
    second: Side
    matrix: Doubles
    reference_images: int
    model: str

    @property
    def shares(self) -> Doubles:
        """The layers' shares, the mean of both directions, float64 [layers]; they sum to ``similarity``."""
        return (self.first.shares + self.second.shares) / 2

    @property
    def usual_shares(self) -> Doubles | None:
        """The layers' mean shares of both images with the reference images, float64 [layers]; None without them."""
        first, second = self.first.usual_shares, self.second.usual_shares
        return None if first is None or second is None else (first + second) / 2

    @property
    def specific_shares(self) -> Doubles:
        """``shares`` less ``usual_shares``, float64 [layers]; ``shares`` without reference images."""
        usual = self.usual_shares
        return self.shares if usual is None else self.shares - usual

    @property
    def layer_names(self) -> list[str]:
        """Such as "layer 3 (14 × 14)"; the size is that of the feature map, height first."""
        return [f"layer {k} ({m.shape[0]} × {m.shape[1]})" for k, m in enumerate(self.first.maps, start=1)]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but the pixels, as plain lists and dictionaries for JSON."""
        usual = self.usual_shares
        return {
            "version": 1,
            "model": self.model,
            "similarity": self.similarity,
            "layers": self.layer_names,
            "shares": self.shares.tolist(),
            "matrix": self.matrix.tolist(),
            "reference_images": self.reference_images,
            "usual_shares": None if usual is None else usual.tolist(),
            "images": [
                {
                    "path": side.name,
                    "shares": side.shares.tolist(),
                    "maps": [layer.tolist() for layer in side.maps],
                    "usual_maps": None if side.usual is None else [layer.tolist() for layer in side.usual],
                }
                for side in (self.first, self.second)
            ],
        }

    def table(self) -> str:
        """Lays the shares out as text."""
        usual = self.usual_shares
        lines = [f"similarity {self.similarity:.4f}", ""]
        head = f"{'layer':<20} {'share':>8} {'of all':>7} {'from 1st':>9} {'from 2nd':>9}"
        lines.append(head + ("" if usual is None else f" {'usual':>8} {'specific':>9}"))
        for k, name in enumerate(self.layer_names):
            part = self.shares[k] / self.similarity if self.similarity else 0.0
            line = f"{name:<20} {self.shares[k]:>8.4f} {part:>7.1%} {self.first.shares[k]:>9.4f} "
            line += f"{self.second.shares[k]:>9.4f}"
            lines.append(line + ("" if usual is None else f" {usual[k]:>8.4f} {self.specific_shares[k]:>+9.4f}"))
        if usual is not None:
            lines += [
                "",
                f"usual: the mean with {self.reference_images} reference images, {usual.sum():.4f} together; "
                f"specific to this pair: {self.specific_shares.sum():+.4f}",
            ]
        return "\n".join(lines)


def _upsample(values: Doubles, height: int, width: int) -> Doubles:
    """Linear interpolation between the centres of the cells; beyond the outer centres the value stays."""
    for axis, length in ((0, height), (1, width)):
        cells = values.shape[axis]
        position = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
        low = np.floor(position).astype(np.int64)
        high = np.minimum(low + 1, cells - 1)
        part = (position - low).reshape((-1, 1) if axis == 0 else (1, -1))
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return values
