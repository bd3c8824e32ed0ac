"""Image similarity with a custom reduction operator.

A ResNet-18's four stage outputs are average-pooled, repeat-interleaved to 512 channels and averaged; two images are
similar when the cosine of these embeddings is above 0.75. All the work is done by the C++ engine; this module converts
arguments and results.

    >>> import rrn_native
    >>> result = rrn_native.find_similar("photos")
    >>> result.unique, [group.representative for group in result.groups]

Heavier tools are modules of their own and verbs of the command line ``rrn``, for example ``rrn export``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import numpy as _  # noqa: F401
except ImportError as error:
    raise ImportError(f"rrn_native needs NumPy, which could not be loaded ({error}): pip install numpy") from error

from rrn_native import _load
from rrn_native.arrays import (
    DEFAULT_MAX_PIXELS,
    DEFAULT_THRESHOLD,
    FloatArray,
    PathLike,
    PixelArray,
    Progress,
    cosine_similarity,
    decode,
    preprocess,
    reduction,
    search_targets,
    similar_pairs,
    similar_pairs_approximate,
)
from rrn_native.embedder import Embedder, Keep, PhaseProgress, Precision, Provider, find_images, find_similar
from rrn_native.errors import CancelledError, RrnError
from rrn_native.locate import custom_op_library, default_model
from rrn_native.result import (
    Group,
    Image,
    Member,
    Model,
    Redundant,
    Reference,
    SameFile,
    Search,
    SimilarityResult,
    Skipped,
)

if TYPE_CHECKING:
    __version__: str

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "DEFAULT_THRESHOLD",
    "CancelledError",
    "Embedder",
    "FloatArray",
    "Group",
    "Image",
    "Keep",
    "Member",
    "Model",
    "PathLike",
    "PhaseProgress",
    "PixelArray",
    "Precision",
    "Progress",
    "Provider",
    "Redundant",
    "Reference",
    "RrnError",
    "SameFile",
    "Search",
    "SimilarityResult",
    "Skipped",
    "cosine_similarity",
    "custom_op_library",
    "decode",
    "default_model",
    "find_images",
    "find_similar",
    "preprocess",
    "reduction",
    "search_targets",
    "similar_pairs",
    "similar_pairs_approximate",
]


def __getattr__(name: str) -> Any:
    """The native module, loaded when it is first used, and the version, which only it knows."""
    if name == "_native":
        return _load.native()
    if name == "__version__":
        return _load.native().__version__
    raise AttributeError(f"module 'rrn_native' has no attribute {name!r}")
