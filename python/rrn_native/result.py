"""The typed result of :func:`rrn_native.find_similar`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A file that gave no embedding, and why."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Member:
    """An image and its similarity (cosine, rounded to 6 decimals) to its group's representative."""

    path: str
    similarity: float


@dataclasses.dataclass(frozen=True)
class Group:
    """A representative and the images similar to it, most similar first."""

    representative: str
    members: tuple[Member, ...]


@dataclasses.dataclass(frozen=True)
class Image:
    """An image and the numbers of other images that are similar and dissimilar to it."""

    path: str
    similar: int
    dissimilar: int


@dataclasses.dataclass(frozen=True)
class Model:
    """Which model made the embeddings, where and in which precision."""

    file: str
    weights_origin: str
    weights_sha256: str
    size: int
    embedding_dim: int
    provider: str
    precision: str


@dataclasses.dataclass(frozen=True)
class Search:
    """How pairs were looked for.

    Attributes:
        method: "exact" or "approximate".
        recall: The share of the similar pairs that was found: 1 for exact; measured on a sample of images for
            approximate, None if they have no similar ones.
    """

    method: str
    recall: float | None


@dataclasses.dataclass(frozen=True)
class SameFile:
    """An image that is one and the same file as a reference image, so the two are not compared."""

    path: str
    reference: str


@dataclasses.dataclass(frozen=True)
class Reference:
    """The reference folder that images were compared with.

    Attributes:
        folder: As it was given.
        files: ``read + len(skipped)``.
        read: Its images that were read.
        known: Images (not reference images) that are similar to some reference image, or the same file as one.
        new: All other images that were read: ``result.read == known + new``.
        skipped: Files of the reference folder that gave no embedding.
        same_files: Images that are themselves reference images, by whatever name.
    """

    folder: str
    files: int
    read: int
    known: int
    new: int
    skipped: tuple[Skipped, ...]
    same_files: tuple[SameFile, ...]


@dataclasses.dataclass(frozen=True)
class Redundant:
    """An image that its group can do without, and the one that is kept for it."""

    path: str
    kept: str
    similarity: float


@dataclasses.dataclass(frozen=True)
class SimilarityResult:
    """What ``./build/similarity --json`` writes, as an object; ``to_dict`` gives exactly that JSON.

    ``read + len(skipped) == files`` and ``unique == len(groups) + images in no group`` always hold.

    Attributes:
        embeddings: float32 [read, dim], raw, one row for each of ``images``. Not part of the JSON.
        redundant: The images that their groups can do without, sorted by the bytes of their paths: the members of all
            groups, without those that are reference images themselves or that their representative is only another
            path of, say a symbolic link to them. As the engine found the files when the search ended.
        keep: Which image of a group represents it; in the JSON unless it is "most-similar".
        reference: The reference folder, or None without one. With it, groups are represented by reference images, and
            ``similar`` and ``dissimilar`` of an image count reference images.
    """

    version: int
    model: Model
    threshold: float
    search: Search
    files: int
    read: int
    skipped: tuple[Skipped, ...]
    groups: tuple[Group, ...]
    unique: int
    redundant: tuple[Redundant, ...]
    images: tuple[Image, ...]
    embeddings: npt.NDArray[np.float32] = dataclasses.field(repr=False, compare=False)
    keep: str = "most-similar"
    reference: Reference | None = None

    @classmethod
    def from_json(cls, text: bytes, embeddings: npt.NDArray[np.float32]) -> SimilarityResult:
        """Builds the result from the engine's JSON.

        Paths that are not UTF-8 come out as ``os.fsdecode`` makes them, so they open the same files.
        """
        data: dict[str, Any] = json.loads(text)
        return cls(
            version=data["version"],
            model=Model(**data["model"]),
            threshold=data["threshold"],
            search=Search(**data["search"]),
            files=data["files"],
            read=data["read"],
            skipped=tuple(Skipped(**entry) for entry in data["skipped"]),
            groups=tuple(
                Group(group["representative"], tuple(Member(**member) for member in group["members"]))
                for group in data["groups"]
            ),
            unique=data["unique"],
            redundant=tuple(Redundant(**entry) for entry in data["redundant"]),
            images=tuple(Image(**entry) for entry in data["images"]),
            embeddings=embeddings,
            keep=data.get("keep", "most-similar"),
            reference=_reference(data["reference"]) if "reference" in data else None,
        )

    def rows(self) -> list[dict[str, Any]]:
        """Returns one flat row for each image, in the order of ``images`` and ``embeddings``; for tables and CSV files.

        ``pandas.DataFrame(result.rows())`` takes them as they are. ``group`` counts from 1; it, ``representative`` and
        ``similarity`` (to the representative, 1.0 for the representative itself) are None for an image in no group.
        """
        places: dict[str, tuple[int | None, str | None, float | None]] = {}
        for number, group in enumerate(self.groups, start=1):
            places[group.representative] = (number, group.representative, 1.0)
            for member in group.members:
                places[member.path] = (number, group.representative, member.similarity)
        rows = []
        for image in self.images:
            position, representative, similarity = places.get(image.path, (None, None, None))
            rows.append(
                {
                    "path": image.path,
                    "group": position,
                    "representative": representative,
                    "similarity": similarity,
                    "similar": image.similar,
                    "dissimilar": image.dissimilar,
                }
            )
        return rows

    def _repr_html_(self) -> str:
        """What a notebook shows: the counts, and the first groups with thumbnails."""
        from rrn_native import _notebook

        return _notebook.result_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON object, as plain lists and dictionaries."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "embeddings"}
        if self.keep == "most-similar":
            del fields["keep"]
        if self.reference is None:
            del fields["reference"]
        plain: dict[str, Any] = json.loads(json.dumps(fields, default=dataclasses.asdict))
        return plain


def _reference(data: dict[str, Any]) -> Reference:
    skipped = tuple(Skipped(**entry) for entry in data["skipped"])
    same_files = tuple(SameFile(**entry) for entry in data["same_files"])
    return Reference(**{**data, "skipped": skipped, "same_files": same_files})
