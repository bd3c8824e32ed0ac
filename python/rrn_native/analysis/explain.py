"""Why are two images similar? The cosine, taken apart into layers and places, without approximation.

    explanation = explain.explain("a.jpg", "b.jpg")
    explanation.similarity, explanation.shares

:func:`rrn_native.analysis.plots.explanation_figure` draws it; the command line is ``rrn explain``.

The embedding is linear in the feature maps. With f_l the map [C_l, H_l, W_l] of layer l, K layers (4 in ResNet-18) and
D = 512,

    e = 1/K sum_l interleave(pool(f_l)),      pool(f)[c] = 1/(H W) sum_yx f[c, y, x],

where interleave repeats each channel D / C_l times in place. The cosine of images a and b is linear in e_a, so that

    cos(a, b) = sum_l share_l,         share_l = <interleave(pool(f_l(a))) / K, e_b> / (|e_a| |e_b|),
    share_l = sum_yx map_l[y, x],      map_l[y, x] = <interleave(f_l(a)[:, y, x]) / (K H_l W_l), e_b> / (|e_a| |e_b|).

All these terms together *are* the cosine: nothing is left over, nothing is estimated. Moving the interleaving to the
other side makes it cheap: <interleave(p), e> = <p, fold(e)>, where fold adds up each run of D / C_l entries.

Seen from b the shares of the layers are others (those of e_b's layers against all of e_a); each direction sums to the
same cosine, and so does their mean, which is what ``Explanation.shares`` holds.

**Reading it.** A share says where the cosine comes from, not what is special about the pair: features that fire in
every image have a large share in every pair. With reference images r (``against``), the mean contribution is taken
away:

    specific_l = <interleave(pool(f_l(a))) / K, e_b / |e_b| - mean_r(e_r / |e_r|)> / |e_a|,

which sums to cos(a, b) - mean_r cos(a, r): by how much, and where, a is more similar to b than to the reference images.
A place can have a negative specific share: it looks less like b than like the average image. Positions are those of the
feature map; what a position has seen of the image (its receptive field) is larger, in layer 4 most of the image.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

import rrn_native
from rrn_native import _onnx
from rrn_native.analysis import metrics
from rrn_native.analysis.explanation import Doubles, Explanation, Side
from rrn_native.errors import UnreadableError
from rrn_native.session import cpu_session

# Between a pooled average and the Reduction node; none of them changes a value.
_PASSED = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_POOLS = frozenset({"GlobalAveragePool", "ReduceMean"})


class Explainer:
    """A model that also gives out its feature maps; make it once for many pairs.

    The model is loaded twice: by the engine, whose preprocessing is used, and by ONNX Runtime's CPU provider with the
    inputs of its averages as further outputs. Nothing is written. May be used from several threads.

    Args:
        model: An ONNX file whose first output is a ``rrn::Reduction`` node, as `rrn_native.model.export` writes it; any
            weights, any number of layers, quantised or not. None for the model that comes with the package.
        size: Side of the network's input in pixels, as for :class:`rrn_native.Embedder`.

    Raises:
        ValueError: The file is no ONNX model, or its first output comes from no Reduction node.
        FileNotFoundError: No such model.
        rrn_native.RrnError: ONNX Runtime refuses the model.
    """

    def __init__(self, model: rrn_native.PathLike | None = None, size: int | None = None) -> None:
        path = Path(model if model is not None else rrn_native.default_model())
        self._engine = rrn_native.Embedder(path, size, threads=1, provider="cpu", batch=1)
        proto = _onnx.load(path)
        self.model = path.name
        self._sources = _feature_maps(proto, path)
        outputs = {value.name for value in proto.graph.output}
        for name in dict.fromkeys(self._sources):
            if name not in outputs:
                proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        try:
            self._session = cpu_session(proto.SerializeToString())
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise rrn_native.RrnError(f"{path}: {(str(error).splitlines() or ['?'])[0]}") from error

    def explain(
        self,
        image_a: rrn_native.PathLike | rrn_native.PixelArray,
        image_b: rrn_native.PathLike | rrn_native.PixelArray,
        *,
        against: npt.NDArray[Any] | None = None,
    ) -> Explanation:
        """Takes the cosine of two images apart; see :func:`explain`."""
        try:
            pictures = [_picture(image, self._engine.size) for image in (image_a, image_b)]
        except rrn_native.RrnError as error:
            raise UnreadableError(str(error)) from error
        names = [
            name if isinstance(image, np.ndarray) else os.fsdecode(image)
            for image, name in ((image_a, "first"), (image_b, "second"))
        ]
        features = [self._features(pixels) for pixels in pictures]
        pooled = [[f.mean(axis=(1, 2)) for f in each] for each in features]
        dim = self._engine.dim
        layers = [np.stack([np.repeat(p, dim // len(p)) for p in each]) / len(each) for each in pooled]
        embeddings = [each.sum(axis=0) for each in layers]
        norms = [float(np.linalg.norm(each)) for each in embeddings]
        units = [_divided(each, norm) for each, norm in zip(embeddings, norms, strict=True)]
        matrix = np.asarray(_divided(layers[0], norms[0]) @ _divided(layers[1], norms[1]).T)
        mean = None if against is None else _mean_direction(against, dim)

        def side(own: int) -> Side:
            other = 1 - own
            maps = _maps(features[own], norms[own], units[other])
            usual = None if mean is None else _maps(features[own], norms[own], mean)
            return Side(names[own], pictures[own], maps, usual)

        return Explanation(
            similarity=float(matrix.sum()),
            first=side(0),
            second=side(1),
            matrix=matrix,
            reference_images=0 if against is None else len(against),
            model=self.model,
        )

    def _features(self, pixels: rrn_native.PixelArray) -> list[Doubles]:
        """The feature maps of one image, float64 [C, H, W] each; checked against the model's own embedding.

        Raises:
            ValueError: What the model computes is not the mean of these maps.
        """
        tensor = self._engine.preprocess(pixels)[None]
        outputs = [self._session.get_outputs()[0].name, *self._sources]
        embedding, *found = self._session.run(outputs, {self._session.get_inputs()[0].name: tensor})
        maps: list[Doubles] = []
        for name, value in zip(self._sources, found, strict=True):
            # Averages that come from elsewhere have no places: all of the layer is one place.
            shaped = value[:, :, None, None] if value.ndim == 2 else value
            if shaped.ndim != 4 or self._engine.dim % shaped.shape[1]:
                raise ValueError(f"{self.model}: {name} is {list(value.shape)}, expected a feature map [1, C, H, W]")
            maps.append(shaped[0].astype(np.float64))
        pooled = [each.mean(axis=(1, 2)) for each in maps]
        rebuilt = np.mean([np.repeat(p, self._engine.dim // len(p)) for p in pooled], axis=0)
        # float32 sums of n terms in any order are off by n epsilon of the sum of magnitudes, at most.
        terms = max(each[0].size for each in maps) + 8
        scale = np.mean([np.repeat(np.abs(e).mean(axis=(1, 2)), self._engine.dim // len(e)) for e in maps], axis=0)
        worst = float(np.max(np.abs(rebuilt - embedding[0]) - terms * np.finfo(np.float32).eps * scale))
        if not worst <= np.finfo(np.float32).tiny:
            raise ValueError(
                f"{self.model}: its embedding is not the mean of its repeated layer averages, so its cosine cannot be "
                "taken apart; use a model made by rrn export"
            )
        return maps


def explain(
    image_a: rrn_native.PathLike | rrn_native.PixelArray,
    image_b: rrn_native.PathLike | rrn_native.PixelArray,
    model: rrn_native.PathLike | None = None,
    *,
    size: int | None = None,
    against: npt.NDArray[Any] | None = None,
) -> Explanation:
    """Takes the cosine of two images apart into layers and places; :class:`Explainer` is faster for many pairs.

    Args:
        image_a: A file, or RGB pixels as uint8 [height, width, 3].
        image_b: The same.
        model: As for :class:`Explainer`.
        size: As for :class:`Explainer`.
        against: Embeddings [n, dim] of reference images by the same model, such as ``find_similar(...).embeddings``:
            what the two images have in common with the average of them is told apart. Rows need not be normalised;
            rows of NaN (unreadable files) are not allowed.

    Raises:
        OSError: A file cannot be read.
        ValueError: The model does not end in a Reduction node, or an argument has a wrong shape.
        UnreadableError: A file is no image.
        rrn_native.RrnError: ONNX Runtime fails.
    """
    return Explainer(model, size).explain(image_a, image_b, against=against)


def _feature_maps(proto: onnx.ModelProto, path: Path) -> list[str]:
    """The tensors whose averages the Reduction node takes, in its order.

    Raises:
        ValueError: The model's first output comes from no Reduction node.
    """
    producers = {output: node for node in proto.graph.node for output in node.output}
    last = producers.get(proto.graph.output[0].name) if proto.graph.output else None
    if last is None or (last.domain, last.op_type) != ("rrn", "Reduction"):
        found = "no node" if last is None else last.op_type
        raise ValueError(
            f"{path}: its first output comes from {found}, expected rrn.Reduction; use a model made by rrn export"
        )
    sources = []
    for name in last.input:
        node = producers.get(name)
        while node is not None and node.op_type in _PASSED:
            node = producers.get(node.input[0])
        sources.append(node.input[0] if node is not None and node.op_type in _POOLS else name)
    return sources


def _picture(image: rrn_native.PathLike | rrn_native.PixelArray, target: int) -> rrn_native.PixelArray:
    """The pixels that the engine would resize; errors name the file."""
    if isinstance(image, np.ndarray):
        return image
    try:
        return rrn_native.decode(image, target=target)
    except rrn_native.RrnError as error:
        raise rrn_native.RrnError(f"{os.fsdecode(image)}: {error}") from error


def _divided(array: Doubles, norm: float) -> Doubles:
    """The array over the norm; zeros for an embedding of zero, whose cosine is defined as 0."""
    return np.asarray(array / norm) if norm > 0 else np.zeros_like(array)


def _mean_direction(embeddings: npt.NDArray[Any], dim: int) -> Doubles:
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != dim or not len(rows):
        raise ValueError(f"against is {list(rows.shape)}, expected embeddings [n, {dim}] of the same model, n >= 1")
    if not np.isfinite(rows).all():
        raise ValueError("against holds values that are not finite; leave rows of unreadable images out")
    return np.asarray(metrics.unit_rows(rows).mean(axis=0))


def _maps(features: list[Doubles], norm: float, direction: Doubles) -> tuple[Doubles, ...]:
    """What each place adds to the cosine with a direction of length 1."""
    maps = []
    for layer in features:
        channels, height, width = layer.shape
        folded = direction.reshape(channels, -1).sum(axis=1)
        weights = _divided(folded, norm) / (len(features) * height * width)
        maps.append(np.einsum("c,chw->hw", weights, layer))
    return tuple(maps)
