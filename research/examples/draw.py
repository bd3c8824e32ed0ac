"""Draws the example figures from what `record` measured, the example photos and the default model."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import rrn_native
from rrn_native import SimilarityResult
from rrn_native.analysis import explanation as explanations
from rrn_native.analysis import plots

from research.common import charts, results
from research.examples import graph

Json = dict[str, Any]

# Kept small, as they are part of the repository.
DPI = 72


def write(measured: Path, root: Path, output: Path) -> list[Path]:
    """Draws example_map.png, example_gallery.png, example_explain.png and graph_tail.png.

    Args:
        measured: The folder of example_figures.json.
        root: Where examples/photos is.
        output: Gets the pictures.

    Returns:
        The pictures.

    Raises:
        OSError: A photo or the measured numbers are missing.
    """
    recorded = results.read(measured / "example_figures.json")
    found = SimilarityResult.from_json(
        json.dumps(recorded["result"]).encode(), np.asarray(recorded["embeddings"], np.float32)
    )
    output = output.resolve()
    # Paths in the result are relative, and captions are made of them.
    with contextlib.chdir(root):
        paths = [image.path for image in found.images]
        for path in paths:
            if not Path(path).is_file():
                raise FileNotFoundError(f"{path} is missing: python -m research.common.examples examples/photos")
        figures = {
            "example_map.png": plots.embedding_map(found.embeddings, paths, groups=found.groups),
            "example_gallery.png": plots.group_gallery(found),
            "example_explain.png": plots.explanation_figure(explanation(recorded["explanation"])),
        }
        for name, figure in figures.items():
            plots.save(figure, output / name, dpi=DPI)
    charts.save(graph.draw(Path(rrn_native.default_model())), output / "graph_tail.png", dpi=DPI)
    return [*(output / name for name in figures), output / "graph_tail.png"]


def explanation(recorded: Json) -> explanations.Explanation:
    """Returns what `Explanation.to_dict` wrote as an explanation again; the pixels are read from the files."""
    sides = []
    for image in recorded["images"]:
        maps, usual = (tuple(np.asarray(layer, np.float64) for layer in image[key]) for key in ("maps", "usual_maps"))
        sides.append(explanations.Side(image["path"], rrn_native.decode(image["path"]), maps, usual))
    return explanations.Explanation(
        similarity=recorded["similarity"],
        first=sides[0],
        second=sides[1],
        matrix=np.asarray(recorded["matrix"], np.float64),
        reference_images=recorded["reference_images"],
        model=recorded["model"],
    )
