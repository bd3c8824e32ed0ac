"""Makes a folder of example photos: real ones, copies of them as people make copies, and one broken file.

    python -m research.common.examples FOLDER

The photos are samples that the PyPI package scikit-image carries (public domain or CC0). Only the package's file is
downloaded, nothing of it is installed. A folder that is complete is left as it is. Needs Pillow and nothing else.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

# Photographs only; each comes with its licence in the package's data/README.txt.
PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "grass.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "rocket.jpg",
)
_ORIENTATION = 0x0112  # the EXIF tag


def fetch_photos() -> dict[str, Image.Image]:
    """Returns the sample photos by name.

    Raises:
        OSError: pip cannot download the package.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        command += ["--disable-pip-version-check", "--dest", folder, "scikit-image>=0.22"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise OSError(f"cannot download scikit-image for its sample photos: {run.stderr.strip()[-500:]}")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return {name: Image.open(io.BytesIO(wheel.read(f"skimage/data/{name}"))) for name in PHOTOS}


def save_copies(folder: Path, photos: dict[str, Image.Image]) -> None:
    """Saves copies as they turn up in photo folders: smaller, recompressed, cropped, turned by EXIF, in sub-folders."""
    astronaut = photos["astronaut.png"].convert("RGB")
    astronaut.resize((256, 256)).save(folder / "astronaut_small.jpg", quality=85)
    astronaut.save(folder / "astronaut_recompressed.jpg", quality=15)

    cat = photos["chelsea.png"].convert("RGB")
    width, height = cat.size
    cat.crop((width // 10, height // 10, width, height)).save(folder / "chelsea_cropped.png")
    # Stored lying on its side; the EXIF tag says how to turn it back.
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    cat.transpose(Image.Transpose.ROTATE_90).save(folder / "chelsea_exif_rotated.jpg", quality=90, exif=exif)

    albums = folder / "albums" / "2024 — café"
    albums.mkdir(parents=True)
    photos["coffee.png"].convert("RGB").save(albums / "coffee.webp", quality=60)
    photos["rocket.jpg"].convert("L").save(albums / "rocket_grey.jpg", quality=80)

    whole = (folder / "rocket.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 3])


def make(target: Path) -> None:
    """Makes the folder unless it is there.

    Raises:
        OSError: The photos cannot be downloaded, or the folder cannot be written.
    """
    if target.is_dir():
        return
    # Made beside its place and moved there, so that an interrupted run leaves no half-filled folder behind.
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    photos = fetch_photos()
    for name, photo in photos.items():
        options: dict[str, Any] = {"quality": 95} if name.endswith(".jpg") else {}
        photo.save(partial / name, **options)
    save_copies(partial, photos)
    partial.rename(target)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m research.common.examples", description="Make example photos.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="left as it is if it is there")
    target = parser.parse_args(argv).folder
    try:
        make(target)
    except OSError as error:
        print(f"error: {error}\ngive a folder of your own instead: scripts/run.sh DIR", file=sys.stderr)
        return 1
    print(f"{target}: scikit-image's sample photos, and copies of them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
