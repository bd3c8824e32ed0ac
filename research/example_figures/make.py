"""Draws the example figures in findings/ from the example photos.

Usage: python research/example_figures/make.py   (from the repository's root, with the environment of scripts/build.sh)
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import rrn_native
from rrn_native.analysis import explain, plots

ROOT = Path(__file__).resolve().parents[2]
# Relative, so that no path of this machine can get into a figure.
PHOTOS = Path("examples/photos")
FINDINGS = ROOT / "findings"
# Kept small, as they are part of the repository.
DPI = 72


def main() -> None:
    """Writes findings/example_map.png, example_gallery.png and example_explain.png."""
    if Path.cwd() != ROOT:
        sys.exit(f"run it from {ROOT}")
    subprocess.run([sys.executable, "scripts/make_examples.py", str(PHOTOS)], check=True)
    result = rrn_native.find_similar(PHOTOS)
    paths = [image.path for image in result.images]
    plots.save(
        plots.embedding_map(result.embeddings, paths, groups=result.groups), FINDINGS / "example_map.png", dpi=DPI
    )
    plots.save(plots.group_gallery(result), FINDINGS / "example_gallery.png", dpi=DPI)
    pair = (PHOTOS / "chelsea.png", PHOTOS / "chelsea_cropped.png")
    explanation = explain.explain(*pair, against=result.embeddings)
    plots.save(plots.explanation_figure(explanation), FINDINGS / "example_explain.png", dpi=DPI)


if __name__ == "__main__":
    main()
