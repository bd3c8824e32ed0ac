"""Embeddings in the plane: PCA, t-SNE and UMAP."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from rrn_native.analysis.metrics import unit_rows

Doubles = npt.NDArray[np.float64]
Method = Literal["pca", "tsne", "umap", "auto"]
METHODS: tuple[Method, ...] = ("pca", "tsne", "umap", "auto")

# Below, neighbours mean nothing; above, "auto" would take minutes.
FEWEST_FOR_NEIGHBOURS = 5
MOST_FOR_AUTO = 5000


@dataclasses.dataclass(frozen=True)
class Projection:
    """Embeddings in the plane.

    Attributes:
        points: float64 [n, 2].
        method: "pca", "tsne" or "umap": what was computed, whatever was asked for.
        explained: For PCA, the shares of the variance along both axes; else None.
        note: Why it is another method than the one asked for; "" if it is not.
    """

    points: Doubles
    method: str
    explained: tuple[float, float] | None
    note: str


def project(embeddings: npt.ArrayLike, method: Method = "pca") -> Projection:
    """Lays embeddings out in the plane, by the directions of the vectors only, as the cosine does.

    "pca" shows distances as they are, as far as two axes can; its axes point so that the largest coefficient is
    positive. "tsne" (scikit-learn) and "umap" (umap-learn) keep neighbours together and give distances between
    clusters no meaning; both have a fixed seed and run on one thread, so that the same input and versions give the same
    map. Where the package is missing, or there are fewer than 5 images, PCA takes their place. "auto" is t-SNE from 5
    to 5000 images where scikit-learn is installed, else PCA.

    Args:
        embeddings: Finite [n, dim], n >= 0.
        method: One of METHODS.

    Raises:
        ValueError: Another shape, values that are not finite or an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"expected finite embeddings [n, dim], got {list(rows.shape)}")
    unit = unit_rows(rows)
    points, explained = _pca(unit)
    note = ""
    if method in ("tsne", "umap") and len(unit) < FEWEST_FOR_NEIGHBOURS:
        note = f"{method_name(method)} needs at least {FEWEST_FOR_NEIGHBOURS} images; this is PCA"
    elif method == "umap" or method == "tsne" or (method == "auto" and 5 <= len(unit) <= MOST_FOR_AUTO):
        try:
            found = _umap(unit) if method == "umap" else _tsne(unit, points)
            return Projection(found, "umap" if method == "umap" else "tsne", None, "")
        except ModuleNotFoundError as error:
            package = "umap-learn" if method == "umap" else "scikit-learn"
            if method != "auto":
                missing = (error.name or package).partition(".")[0]
                missing = package if missing in ("umap", "sklearn") else missing
                note = f"{method_name(method)} needs {missing} (pip install {package}); this is PCA"
    return Projection(points, "pca", explained, note)


def _pca(unit: Doubles) -> tuple[Doubles, tuple[float, float]]:
    """The first two principal components, and their shares of the variance."""
    n, dim = unit.shape
    if n < 2 or dim < 1:
        return np.zeros((n, 2)), (0.0, 0.0)
    centred = unit - unit.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    total = float(np.trace(centred.T @ centred))
    # Rounding leaves a little where all images are the same.
    if total <= n * dim * np.finfo(np.float64).eps ** 2 * 16:
        return np.zeros((n, 2)), (0.0, 0.0)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    points = np.zeros((n, 2))
    points[:, : axes.shape[1]] = centred @ axes
    shares = [max(0.0, float(value)) / total for value in values[::-1][:2]] + [0.0]
    return points, (shares[0], shares[1])


def _tsne(unit: Doubles, start: Doubles) -> Doubles:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    spread = float(start[:, 0].std())
    model = TSNE(
        perplexity=min(30.0, (len(unit) - 1) / 3),
        # scikit-learn's own initial size; where all images are equal any start will do.
        init=(start / spread * 1e-4).astype(np.float32) if spread > 0 else "random",
        random_state=0,
    )
    with threadpool_limits(1):  # sums over threads would depend on their number
        return np.asarray(model.fit_transform(unit.astype(np.float32)), dtype=np.float64)


def _umap(unit: Doubles) -> Doubles:
    from umap import UMAP

    model = UMAP(n_neighbors=min(15, len(unit) - 1), random_state=0, n_jobs=1, init="pca")
    return np.asarray(model.fit_transform(unit.astype(np.float32)), dtype=np.float64)


def method_name(method: str) -> str:
    """Returns a method's name for people."""
    return {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}[method]
