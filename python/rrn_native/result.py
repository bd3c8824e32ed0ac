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
class SimilarityResult:
    """What ``./build/similarity --json`` writes, as an object; ``to_dict`` gives exactly that JSON.

    ``read + len(skipped) == files`` and ``unique == len(groups) + images in no group`` always hold.

    Attributes:
        embeddings: float32 [read, dim], raw, one row for each of ``images``. Not part of the JSON.
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
    images: tuple[Image, ...]
    embeddings: npt.NDArray[np.float32] = dataclasses.field(repr=False, compare=False)

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
            images=tuple(Image(**entry) for entry in data["images"]),
            embeddings=embeddings,
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
        plain: dict[str, Any] = json.loads(json.dumps(fields, default=dataclasses.asdict))
        return plain
