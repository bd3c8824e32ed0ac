"""Image similarity with a custom reduction operator.

A ResNet-18's four stage outputs are average-pooled, repeat-interleaved to 512 channels and averaged; two images are
similar when the cosine of these embeddings is above 0.75. All the work is done by the C++ engine; this module converts
arguments and results.

    >>> import rrn_native
    >>> result = rrn_native.find_similar("photos")
    >>> result.unique, [group.representative for group in result.groups]

What needs more than NumPy is in the sub-packages ``rrn_native.analysis`` (measures, figures, reports) and
``rrn_native.model`` (the network, export, 8 bits), and in verbs of the command line, such as ``rrn report``.
"""

from __future__ import annotations

import importlib
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
    SearchIndex,
    cosine_similarity,
    decode,
    decode_bytes,
    decode_sized,
    encode_jpeg,
    group_pairs,
    nearest,
    preprocess,
    reduction,
    search_targets,
    similar_pairs,
    similar_pairs_approximate,
)
from rrn_native.detections import Detections
from rrn_native.detector import Detector, DetectorInfo, StepTimes
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
from rrn_native.store import Embedded, KnownFile, Match, Store, StoredImage, StoreReport, StoreUse

if TYPE_CHECKING:
    from rrn_native import analysis, model

    __version__: str

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "DEFAULT_THRESHOLD",
    "CancelledError",
    "Detections",
    "Detector",
    "DetectorInfo",
    "Embedded",
    "Embedder",
    "FloatArray",
    "Group",
    "Image",
    "Keep",
    "KnownFile",
    "Match",
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
    "SearchIndex",
    "SimilarityResult",
    "Skipped",
    "StepTimes",
    "Store",
    "StoreReport",
    "StoreUse",
    "StoredImage",
    "analysis",
    "cosine_similarity",
    "custom_op_library",
    "decode",
    "decode_bytes",
    "decode_sized",
    "default_model",
    "encode_jpeg",
    "find_images",
    "find_similar",
    "group_pairs",
    "model",
    "nearest",
    "preprocess",
    "reduction",
    "search_targets",
    "similar_pairs",
    "similar_pairs_approximate",
]


def __getattr__(name: str) -> Any:
    """The version, which only the native module knows, and the sub-packages, which few programs need."""
    if name == "__version__":
        return _load.native.__version__
    if name in ("analysis", "model"):
        return importlib.import_module(f"rrn_native.{name}")
    raise AttributeError(f"module 'rrn_native' has no attribute {name!r}")
