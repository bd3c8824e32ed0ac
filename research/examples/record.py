"""Measures what the figures of the example photos show, and takes a picture of the HTML page.

    python -m research.examples.record            # findings/results/example_figures.json
    python -m research.examples.record --page     # findings/results/example_page.png and .json too; needs Chromium

Run from the repository's root, after scripts/build.sh --tests. What a browser shows depends on its version and on the
fonts that it finds, as a time depends on the machine; so the picture is kept among the results, with the versions.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rrn_native
from PIL import Image
from rrn_native.analysis import explain

from research.common import examples, machine, results
from research.common.places import PROGRAM, RESULTS, ROOT

Json = dict[str, Any]

MODULE = "python -m research.examples.record"
# Relative, so that no path of this machine gets into a result or a figure.
PHOTOS = Path("examples/photos")
# Two photos of one cat; the second is cropped.
PAIR = (PHOTOS / "chelsea.png", PHOTOS / "chelsea_cropped.png")
# Width and height of the picture of the page, in pixels.
WINDOW = (1180, 1170)


def measure() -> Json:
    """Returns the embeddings of the example photos and the explanation of PAIR, rounded to four significant digits.

    Raises:
        rrn_native.RrnError: The engine fails.
    """
    found = rrn_native.find_similar(PHOTOS)
    explanation = explain.explain(*PAIR, against=found.embeddings).to_dict()
    return {
        "model": found.model.file,
        "result": found.to_dict(),
        "embeddings": rounded(found.embeddings),
        "explanation": {key: rounded(value) for key, value in explanation.items()},
    }


def rounded(value: Any) -> Any:
    """Returns JSON values, or an array as lists, with numbers of four significant digits."""
    if isinstance(value, np.ndarray):
        return rounded(value.tolist())
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def picture_of_page(browser: str) -> npt.NDArray[np.uint8]:
    """Returns the upper part of the HTML page of the example photos as a browser shows it, uint8 [height, width, 3].

    Raises:
        OSError: The program or the browser is not there.
        subprocess.CalledProcessError: One of them failed.
    """
    with tempfile.TemporaryDirectory(prefix="rrn-page-") as scratch:
        page, picture = Path(scratch, "page.html"), Path(scratch, "page.png")
        subprocess.run(
            [PROGRAM, PHOTOS, "--quiet", "--no-store", "--html", page], cwd=ROOT, check=True, capture_output=True
        )
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
        ]
        options += ["--disable-lcd-text", "--font-render-hinting=none", "--virtual-time-budget=10000"]
        options += [f"--window-size={WINDOW[0]},{WINDOW[1]}", f"--user-data-dir={scratch}/browser"]
        command = [browser, *options, f"--screenshot={picture}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(picture) as image:
            return np.asarray(image.convert("RGB"))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog=MODULE, description="Measure what the figures of the example photos show.")
    parser.add_argument("--page", action="store_true", help="take a picture of the HTML page too")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="default: findings/results")
    arguments = parser.parse_args(argv)
    head = machine.head(machine.command_line(MODULE, sys.argv[1:] if argv is None else argv))
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        examples.make(PHOTOS)
        results.write(arguments.output / "example_figures.json", {**head, **measure()})
        if arguments.page:
            if browser is None:
                raise FileNotFoundError("no chromium; apt-get install chromium")
            image = Image.fromarray(picture_of_page(browser))
            buffer = io.BytesIO()
            image.save(buffer, "PNG", optimize=True)
            results.write_bytes(arguments.output / "example_page.png", buffer.getvalue())
            version = subprocess.run([browser, "--version"], capture_output=True, text=True, check=True).stdout.strip()
            results.write(arguments.output / "example_page.json", {**head, "browser": version, "size": list(WINDOW)})
    except (OSError, subprocess.SubprocessError, rrn_native.RrnError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
