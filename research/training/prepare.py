"""Collects the training photos: downloads packages, keeps photos under free licences, packs them small.

    python -m research.training.prepare --output .cache/training

Writes shards of WebP bytes (`train-00.bin`, ..., `held_out-00.bin`), `index.json` (one record a picture: where its
bytes are, source package, path, licence) and the licence table `LICENSES.md`, which becomes the second half of
`models/LICENSES.md`, below the notice of the first weights, once weights trained on them are shipped. Needs Debian's
`apt-get` and `dpkg` and pip; installs nothing. Every photo's split follows from the hash of its name, so that a photo
that was held out once stays held out when sources are added.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import fnmatch
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from research.common import results
from research.training import qt_resource

HERE = Path(__file__).resolve().parent
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".dds"}
# Zip files of games and of furniture libraries.
ARCHIVES = {".wz", ".zip", ".pk3", ".sh3f"}
FREE = re.compile(r"^(A?L?GPL|GFDL|CC0|CC-BY-(SA-)?\d|public.domain|PD|Expat|MIT|BSD|Apache|OFL)", re.IGNORECASE)
NOT_FREE = re.compile(r"\b(NC|ND)\b|non.?commercial|no.?deriv", re.IGNORECASE)
Image.MAX_IMAGE_PIXELS = 200_000_000


@dataclass
class Source:
    """One package of sources.toml.

    Attributes:
        drawings: Drawn pictures are wanted too: the teacher says what they show, and they show many things.
        photographs: Most of them are photographs (`data.photograph_weight`).
        opaque: The alpha channel means something else (the colour of a player, gloss).
    """

    name: str
    kind: str
    licence: str
    include: list[str]
    exclude: list[str] = field(default_factory=list)
    version: str = ""
    weight: float = 1.0
    min_side: int = 160
    max_photos: int = 100_000
    max_megapixels: float = 100.0
    drawings: bool = False
    photographs: bool = False
    opaque: bool = False


@dataclass
class Picture:
    """One packed picture: a photo, or a part of a large one."""

    photo: str
    source: str
    licence: str
    weight: float
    width: int
    height: int
    alpha: bool
    split: str
    photographs: bool = False
    shard: str = ""
    offset: int = 0
    length: int = 0


@dataclass
class Candidate:
    """A decoded photo before packing; `skipped` says why it is not wanted."""

    source: Source
    path: str
    licence: str
    skipped: str = ""
    dhash: int = 0
    encoded: list[tuple[bytes, int, int, bool]] = field(default_factory=list)


def read_sources(path: Path) -> list[Source]:
    """Reads sources.toml."""
    return [Source(**entry) for entry in tomllib.loads(path.read_text())["source"]]


def fetch(source: Source, folder: Path, cache: Path | None) -> Path:
    """Downloads and unpacks one package; returns the folder of its files.

    Args:
        source: The package.
        folder: A temporary folder.
        cache: A folder of packages downloaded before, or None.

    Raises:
        subprocess.CalledProcessError: The package could not be installed or unpacked.
    """
    downloads = cache or folder / "downloads" / source.name
    downloads.mkdir(parents=True, exist_ok=True)
    target = folder / source.name
    target.mkdir()
    pattern = f"{source.name}_*.deb" if source.kind == "deb" else f"{source.name.replace('-', '_')}-*.whl"
    if not list(downloads.glob(pattern)):
        if source.kind == "deb":
            command = ["apt-get", "download", source.name]
        else:
            wanted = f"{source.name}=={source.version}" if source.version else source.name
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", wanted]
        subprocess.run(command, cwd=downloads, check=True, capture_output=True)
    package = sorted(downloads.glob(pattern))[-1]
    if source.kind == "deb":
        subprocess.run(["dpkg", "-x", package.resolve(), target], check=True, capture_output=True)
    else:
        with zipfile.ZipFile(package) as archive:
            archive.extractall(target)
    return target


def is_wanted(source: Source, path: str) -> bool:
    """Whether a path inside a package is that of a picture which sources.toml includes."""
    return (
        Path(path).suffix.lower() in SUFFIXES
        and any(fnmatch.fnmatch(path, glob) for glob in source.include)
        and not any(fnmatch.fnmatch(path, glob) for glob in source.exclude)
    )


def files_of(root: Path, source: Source) -> Iterator[tuple[str, bytes]]:
    """Yields (path, content) of every wanted picture in a folder; looks into Qt resource files and zip archives."""
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        name = path.relative_to(root).as_posix()
        if is_wanted(source, name):
            yield name, path.read_bytes()
        elif path.suffix == ".rcc":
            for inner, content in qt_resource.entries(path.read_bytes()):
                if is_wanted(source, f"{name}/{inner}"):
                    yield f"{name}/{inner}", content
        elif path.suffix.lower() in ARCHIVES and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for inner in sorted(archive.namelist()):
                    if is_wanted(source, f"{name}/{inner}"):
                        yield f"{name}/{inner}", archive.read(inner)


def copyright_stanzas(text: str) -> list[tuple[list[str], str]]:
    """Reads (globs, licence) from a machine-readable Debian copyright file; nothing from any other."""
    if not text.startswith("Format:"):
        return []
    stanzas = []
    for block in re.split(r"\n\s*\n", text):
        files = re.search(r"^Files:((?:.*\n?)(?:[ \t]+.*\n?)*)", block, re.MULTILINE)
        licence = re.search(r"^License:[ \t]*(.+)$", block, re.MULTILINE)
        if files and licence:
            stanzas.append((files.group(1).split(), licence.group(1).strip()))
    return stanzas


def _without_suffix(path: str) -> str:
    return path.rpartition(".")[0] if f".{path.rpartition('.')[2].lower()}" in SUFFIXES else path


def _matching_parts(path: str, glob: str) -> int:
    """How many parts of two paths match, counted from the end.

    Suffixes of pictures do not count: GCompris is built with its JPEG and PNG files converted to WebP.
    """
    count = 0
    names = reversed(_without_suffix(path).split("/"))
    for name, pattern in zip(names, reversed(_without_suffix(glob).split("/")), strict=False):
        if not fnmatch.fnmatchcase(name, pattern):
            break
        count += 1
    return count


def licence_of(path: str, stanzas: list[tuple[list[str], str]], default: str) -> str:
    """The licence of a file: that of the stanza that names it best, or `default`, which was read by a person.

    The globs are paths in the source package and `path` is one in the binary package, so they are compared from the
    end. One equal file name is little evidence where the glob names several folders.
    """
    found, best = default, 0
    for globs, licence in stanzas:
        for glob in globs:
            parts = _matching_parts(path, glob)
            literal = "*" not in glob.split("/")[-1]
            needed = min(2, max(1, glob.count("/"))) if literal else glob.count("/") + 1
            # On a tie the last one counts, as in the format itself.
            if glob != "*" and parts >= max(needed, best):
                found, best = licence, parts
    return found


def difference_hash(image: Image.Image) -> int:
    """A 128-bit dHash: signs of horizontal and vertical differences at 9 x 9."""
    small = np.asarray(image.convert("L").resize((9, 9), Image.Resampling.BOX), dtype=np.int16)
    bits = np.concatenate([(small[:8, 1:] > small[:8, :-1]).ravel(), (small[1:, :8] > small[:-1, :8]).ravel()])
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _pixels(image: Image.Image) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A sample of the colours, int16 [160, 160, 3], and where there is anything to see, bool [160, 160]."""
    pixels = np.asarray(image.convert("RGBA").resize((160, 160), Image.Resampling.NEAREST), dtype=np.int16)
    return pixels[..., :3], pixels[..., 3] > 200


def is_empty(image: Image.Image) -> bool:
    """Whether a picture is next to transparent, or of one colour."""
    rgb, seen = _pixels(image)
    return bool(seen.mean() < 0.1 or rgb[seen].std(0).max() < 6)


def is_drawing(image: Image.Image) -> bool:
    """Whether a picture is drawn rather than photographed: large parts of exactly one colour, or hardly any detail."""
    rgb, seen = _pixels(image)
    step = np.abs(np.diff(rgb, axis=1)).max(axis=2)
    both = seen[:, 1:] & seen[:, :-1]
    if both.sum() < 1000:
        return True
    flat = (step[both] == 0).mean()
    colours = len(np.unique((rgb[seen] >> 4) @ np.array([256, 16, 1])))
    return bool(flat > 0.45 or colours < 10 or rgb[seen].std() < 6)


def parts_of(image: Image.Image, side: int) -> list[Image.Image]:
    """The photo scaled down, and for large photos its parts too.

    A wallpaper holds many scenes; scaled down as a whole, most of its pixels would be lost (Asano and Saeed, "The
    Augmented Image Prior", 2021, train on crops of a single large image).
    """
    parts = [image]
    width, height = image.size
    rows, columns = (min(3, max(1, round(length / 700))) for length in (height, width))
    if rows * columns > 1 and min(width, height) >= 700:
        for row in range(rows):
            for column in range(columns):
                box = (
                    width * column // columns,
                    height * row // rows,
                    width * (column + 1) // columns,
                    height * (row + 1) // rows,
                )
                parts.append(image.crop(box))
    scaled = []
    for part in parts:
        scale = min(1.0, side / max(part.size))
        size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
        # Very long panoramas would leave a side too small for a crop.
        if min(size) >= 64:
            scaled.append(part.resize(size, Image.Resampling.LANCZOS))
    return scaled


def examine(source: Source, path: str, content: bytes, licence: str, side: int, quality: int) -> Candidate:
    """Decodes one file, decides whether it is wanted and encodes it."""
    candidate = Candidate(source, path, licence)
    if NOT_FREE.search(licence) or not FREE.search(licence):
        candidate.skipped = "licence"
        return candidate
    try:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.width * opened.height > source.max_megapixels * 1e6:
                candidate.skipped = "too large"
                return candidate
            image = ImageOps.exif_transpose(opened)
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            has_alpha = has_alpha and not source.opaque
            image = image.convert("RGBA" if has_alpha else "RGB")
    except (OSError, ValueError, SyntaxError, NotImplementedError, Image.DecompressionBombError):
        candidate.skipped = "not readable"
        return candidate
    if has_alpha:
        opacity = np.asarray(image.getchannel("A"))
        if (opacity > 250).mean() > 0.98:
            image = image.convert("RGB")
        else:
            box = image.getchannel("A").point(lambda value: 255 if value > 16 else 0).getbbox()
            if box is None:
                candidate.skipped = "empty"
                return candidate
            image = image.crop(box)
    if min(image.size) < source.min_side:
        candidate.skipped = "too small"
    elif is_empty(image):
        candidate.skipped = "hardly anything to see"
    elif not source.drawings and is_drawing(image):
        candidate.skipped = "drawing"
    else:
        candidate.dhash = difference_hash(image)
        # Parts of a cut-out would be mostly empty.
        parts = parts_of(image, side) if image.mode == "RGB" else parts_of(image, side)[:1]
        for index, part in enumerate(parts):
            if index > 0 and (is_empty(part) if source.drawings else is_drawing(part)):
                continue
            buffer = io.BytesIO()
            part.save(buffer, "WEBP", quality=quality, method=4)
            candidate.encoded.append((buffer.getvalue(), part.width, part.height, part.mode == "RGBA"))
    return candidate


def collect(
    sources: list[Source], cache: Path | None, side: int, quality: int
) -> tuple[list[Candidate], collections.Counter[tuple[str, str]]]:
    """Downloads everything; returns the photos to pack and a count for each (source, reason to skip)."""
    kept: list[Candidate] = []
    skipped: collections.Counter[tuple[str, str]] = collections.Counter()
    hashes: list[int] = []
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ProcessPoolExecutor() as pool:
        for source in sources:
            root = fetch(source, Path(folder), cache)
            texts = [path.read_text(errors="replace") for path in root.glob("usr/share/doc/*/copyright")]
            stanzas = copyright_stanzas(texts[0]) if texts else []
            files = list(files_of(root, source))
            if len(files) > source.max_photos:
                # What is kept must come from all folders.
                files.sort(key=lambda file: hashlib.sha256(file[0].encode()).digest())
            jobs = []
            for path, content in files:
                licence = licence_of(path, stanzas, source.licence)
                jobs.append(pool.submit(examine, source, path, content, licence, side, quality))
            count = 0
            for job in jobs:
                candidate = job.result()
                if not candidate.skipped and any((candidate.dhash ^ other).bit_count() <= 8 for other in hashes):
                    candidate.skipped = "duplicate"
                if not candidate.skipped and count >= source.max_photos:
                    candidate.skipped = "enough of this source"
                if candidate.skipped:
                    skipped[source.name, candidate.skipped] += 1
                    continue
                hashes.append(candidate.dhash)
                kept.append(candidate)
                count += 1
            print(f"{source.name}: {count} photos of {len(jobs)} files", flush=True)
    return kept, skipped


def split_of(photo: str, held_out_share: float) -> str:
    """'train' or 'held_out', from the hash of the photo's name alone."""
    value = int.from_bytes(hashlib.sha256(photo.encode()).digest()[:4], "big") / 2**32
    return "held_out" if value < held_out_share else "train"


def pack(kept: list[Candidate], output: Path, shard_bytes: int, held_out_share: float) -> list[Picture]:
    """Writes the shards; returns the index."""
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("*.bin"):
        old.unlink()
    pictures: list[Picture] = []
    shards: dict[str, list[bytearray]] = {"train": [bytearray()], "held_out": [bytearray()]}
    for candidate in kept:
        source = candidate.source
        photo = f"{source.name}:{candidate.path}"
        split = split_of(photo, held_out_share)
        for content, width, height, alpha in candidate.encoded:
            if len(shards[split][-1]) + len(content) > shard_bytes:
                shards[split].append(bytearray())
            shard = shards[split][-1]
            # A photo's parts share its weight, softened: a large photo does hold more to learn from.
            weight = source.weight / len(candidate.encoded) ** 0.5
            picture = Picture(
                photo, source.name, candidate.licence, weight, width, height, alpha, split, source.photographs
            )
            picture.shard = f"{split}-{len(shards[split]) - 1:02d}.bin"
            picture.offset, picture.length = len(shard), len(content)
            shard += content
            pictures.append(picture)
    for split, contents in shards.items():
        for number, shard in enumerate(contents):
            results.write_bytes(output / f"{split}-{number:02d}.bin", bytes(shard))
    return pictures


def licence_table(sources: list[Source], pictures: list[Picture]) -> str:
    """The section of models/LICENSES.md below the notice of the network: packages, licences, numbers of photos."""
    lines = [
        "## Photos the weights were trained on",
        "",
        "Made by `research/training/prepare.py`. No photo is part of this repository; each comes from a package that",
        "anyone can download. The licence is that of the package's copyright file (by file where it says so).",
        "",
        "| package | kind | licence | photos in training | held out |",
        "|---|---|---|---|---|",
    ]
    for source in sources:
        groups: dict[str, dict[str, set[str]]] = {}
        for picture in pictures:
            if picture.source == source.name:
                splits = groups.setdefault(picture.licence, {"train": set(), "held_out": set()})
                splits[picture.split].add(picture.photo)
        for licence, splits in sorted(groups.items()):
            kind = "Debian" if source.kind == "deb" else "PyPI"
            lines.append(f"| {source.name} | {kind} | {licence} | {len(splits['train'])} | {len(splits['held_out'])} |")
    lines += ["", "### Photos under Creative Commons licences with attribution", ""]
    folders: dict[tuple[str, str], set[str]] = {}
    for picture in pictures:
        if picture.licence.startswith("CC-BY"):
            folder, _, name = picture.photo.rpartition("/")
            folders.setdefault((folder, picture.licence), set()).add(name)
    for (folder, licence), names in sorted(folders.items()):
        where = f"`{folder}`, " if folder else ""
        lines.append(f"- {where}{licence}: {', '.join(f'`{name}`' for name in sorted(names))}")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Collect and pack the training photos.")
    parser.add_argument("--output", type=Path, default=Path(".cache/training"), metavar="FOLDER")
    parser.add_argument("--sources", type=Path, default=HERE / "sources.toml", metavar="FILE")
    parser.add_argument("--downloads", type=Path, metavar="FOLDER", help="keep (and reuse) downloaded packages here")
    parser.add_argument("--side", type=int, default=384, help="longer side of packed pictures (default %(default)s)")
    parser.add_argument("--quality", type=int, default=80, help="WebP quality (default %(default)s)")
    parser.add_argument("--shard-mib", type=float, default=12, help="largest shard (default %(default)s MiB)")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of photos kept for evaluation")
    parser.add_argument("--licences", type=Path, metavar="FILE", help="default: LICENSES.md in the output folder")
    arguments = parser.parse_args(argv)
    sources = read_sources(arguments.sources)
    kept, skipped = collect(sources, arguments.downloads, arguments.side, arguments.quality)
    pictures = pack(kept, arguments.output, int(arguments.shard_mib * 2**20), arguments.held_out)
    index = {"side": arguments.side, "quality": arguments.quality, "pictures": [asdict(p) for p in pictures]}
    results.write_bytes(arguments.output / "index.json", f"{json.dumps(index)}\n".encode())
    licences = arguments.licences or arguments.output / "LICENSES.md"
    results.write_bytes(licences, licence_table(sources, pictures).encode())
    for (name, reason), count in sorted(skipped.items()):
        print(f"skipped, {name}: {count} {reason}")
    for split in ("train", "held_out"):
        chosen = [picture for picture in pictures if picture.split == split]
        size = sum(picture.length for picture in chosen) / 2**20
        print(f"{split}: {len({p.photo for p in chosen})} photos, {len(chosen)} pictures, {size:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
