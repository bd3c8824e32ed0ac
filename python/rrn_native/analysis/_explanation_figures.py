"""Why two images are similar, drawn."""

from __future__ import annotations

import dataclasses

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rrn_native._thumbnail import thumbnail
from rrn_native.analysis._drawing import base_name, count_text, elide, make_figure, signed_text, similarity_text, style
from rrn_native.analysis.explanation import Explanation
from rrn_native.arrays import PixelArray

_HEAT = matplotlib.colormaps["inferno"]  # its lightness rises all the way, so a grey print reads the same


def layer_contributions(explained: Explanation) -> Figure:
    """Draws the share that each layer has in the similarity of two images.

    Args:
        explained: From :func:`rrn_native.analysis.explain.explain`.
    """
    with style():
        figure = make_figure(7, 4.2)
        _draw_layers(figure.subplots(), explained)
        axes = figure.axes[0]
        axes.set_title(f"{_sum_of_shares(explained)}\n{_reading(explained)}", fontsize=9)
    return figure


def explanation_figure(explained: Explanation) -> Figure:
    """Draws why two images are similar: both pictures, where their similarity comes from, and from which layers.

    Each row is an image: the picture, the sum of all layers over it, and each layer. Bright places contribute, dark
    ones do not, on one scale in each column; under each map stands its sum. The bars are those of
    :func:`layer_contributions`. With reference images, the maps show what is specific to the pair; places that are less
    similar than usual are as dark as those that contribute nothing, and lie behind a dashed line (in layers with a
    hundredth of the similarity, at least).

    Args:
        explained: From :func:`rrn_native.analysis.explain.explain`.
    """
    layers = len(explained.shares)
    specific = explained.reference_images > 0
    sides = (explained.first, explained.second)
    pictures = [thumbnail(side.pixels, 320) for side in sides]
    heights = [1.75 * float(np.clip(picture.shape[0] / picture.shape[1], 0.5, 1.6)) + 0.4 for picture in pictures]
    with style():
        figure = make_figure(1.75 * (layers + 2) + 0.6, sum(heights) + 3.9)
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(sum(heights) + 0.9, 3.0))[:, 0]
        grid = upper.subplots(2, layers + 2, squeeze=False, height_ratios=heights)
        heats = []
        for side, picture in zip(sides, pictures, strict=True):
            small = dataclasses.replace(side, pixels=picture)
            heats.append([small.heat_map(k, specific=specific) for k in (None, *range(layers))])
        tops = [max(float(heat.max()) for heat in column) for column in zip(*heats, strict=True)]
        for row, (side, picture) in enumerate(zip(sides, pictures, strict=True)):
            grid[row, 0].imshow(picture)
            grid[row, 0].set_ylabel(elide(base_name(side.name), 24), parse_math=False)
            shares = [float(each.sum()) for each in (side.specific_maps() if specific else side.maps)]
            for column, (heat, share) in enumerate(zip(heats[row], [sum(shares), *shares], strict=True)):
                axes = grid[row, column + 1]
                shown = axes.imshow(_overlay(picture, heat, tops[column]), cmap=_HEAT, vmin=0, vmax=1)
                # A layer that hardly counts would only add noise.
                counts = column == 0 or explained.shares[column - 1] >= 0.01 * explained.similarity
                if counts and heat.min() < 0 < heat.max():
                    axes.contour(heat, levels=[0.0], colors="white", linewidths=0.7, linestyles="--")
                axes.set_xlabel(signed_text(share) if specific else f"{share:.3f}")
        for column, title in enumerate(["image", "all layers", *explained.layer_names]):
            grid[0, column].set_title(title, fontsize=8.5)
        for axes in grid.flat:
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
        bar = upper.colorbar(shown, ax=grid, ticks=[0, 1], fraction=0.012, pad=0.01)
        bar.ax.set_yticklabels(["0", "most in\nthe column"], fontsize=7.5)
        what = "specific similarity" if specific else "similarity"
        upper.suptitle(
            f"{_sum_of_shares(explained)}\n"
            f"Bright: where the {what} comes from. The number below is the map's sum, its share of the cosine.",
            fontsize=9.5,
        )
        _draw_layers(lower.subplots(), explained)
        lower.axes[0].set_title(_reading(explained), fontsize=8.5)
    return figure


def _draw_layers(axes: Axes, explained: Explanation) -> None:
    """Bars of the layers' shares; beside them what is usual, on them the two directions."""
    position = np.arange(len(explained.shares), dtype=np.float64)
    usual = explained.usual_shares
    width = 0.5 if usual is None else 0.38
    shift = 0.0 if usual is None else width / 2
    shown = axes.bar(position - shift, explained.shares, width, color="0.75", edgecolor="black", label="this pair")
    axes.bar_label(shown, [f"{share:.3f}" for share in explained.shares], padding=7, fontsize=8)
    if usual is not None:
        count = count_text(explained.reference_images, "reference image")
        label = f"usual: mean with {count}"
        bars = axes.bar(position + shift, usual, width, color="white", edgecolor="black", hatch="////", label=label)
        axes.bar_label(bars, [f"{share:.3f}" for share in usual], padding=3, fontsize=8)
    for side, marker, label in ((explained.first, "<", "first"), (explained.second, ">", "second")):
        axes.plot(
            position - shift,
            side.shares,
            marker,
            color="black",
            markersize=5,
            markerfacecolor="black" if marker == "<" else "white",
            label=f"seen from the {label} image",
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(position, explained.layer_names)
    axes.set_ylabel("share of the cosine (no unit)")
    axes.set_xlabel("layer (height × width of its feature map)")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))
    axes.margins(x=0.05)
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def _sum_of_shares(explained: Explanation) -> str:
    terms = " ".join(f"{'-' if share < 0 else '+'} {abs(share):.3f}" for share in explained.shares).removeprefix("+ ")
    text = f"similarity {similarity_text(explained.similarity)} = {terms}"
    usual = explained.usual_shares
    if usual is not None:
        text += f"; usual {usual.sum():.3f}, specific to this pair {signed_text(explained.specific_shares.sum())}"
    return text


def _reading(explained: Explanation) -> str:
    if explained.reference_images:
        return "What a layer shares with the reference images too (hatched) says nothing about this pair."
    return "A layer that is strong in every image has a large share in every pair; reference images (against) tell."


def _overlay(picture: PixelArray, heat: npt.NDArray[np.float32], top: float) -> npt.NDArray[np.uint8]:
    """The heat, from 0 to `top`, in colours over a pale grey copy of the picture; uint8 [height, width, 3]."""
    level = np.clip(heat / top, 0.0, 1.0) if top > 0 else np.zeros_like(heat)
    # ITU-R BT.601 luma.
    grey = (picture @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    # Enough of the picture to see where one is, little enough to leave the heat its order of lightness.
    mixed = _HEAT(level)[:, :, :3] * 255 * 0.68 + grey * 0.32
    return np.asarray(mixed.round().clip(0, 255)).astype(np.uint8)
