"""Why are two images similar? The cosine, taken apart into layers and places, without approximation.

    rrn explain a.jpg b.jpg --output why.png
    rrn explain a.jpg b.jpg --output why.png --against photos/ --json why.json

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

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rrn_native
from rrn_native._files import write_file
from rrn_native._lazy import LazyImport
from rrn_native.cli.common import NOTHING_READABLE, RUNTIME_ERROR, fail, failure_code
from rrn_native.errors import UnreadableError
from rrn_native.session import cpu_session

if TYPE_CHECKING:
    import onnx
else:
    onnx = LazyImport("onnx")

Doubles = npt.NDArray[np.float64]

# Between a pooled average and the Reduction node; none of them changes a value.
_PASSED = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_POOLS = frozenset({"GlobalAveragePool", "ReduceMean"})


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two images, and what its places contribute.

    Attributes:
        name: The file's name as it was given, or "first" and "second" for arrays.
        pixels: uint8 [height, width, 3], upright; large files at a fraction of their size.
        maps: One float64 [H_l, W_l] for each layer. All entries of all layers sum to the cosine.
        usual: The same maps for the average reference image: their sum is the mean cosine of this image with the
            reference images. None without ``against``.
    """

    name: str
    pixels: rrn_native.PixelArray = dataclasses.field(repr=False)
    maps: tuple[Doubles, ...] = dataclasses.field(repr=False)
    usual: tuple[Doubles, ...] | None = dataclasses.field(repr=False)

    @property
    def shares(self) -> Doubles:
        """The layers' shares seen from this image, float64 [layers]; they sum to the cosine."""
        return np.array([layer.sum() for layer in self.maps])

    @property
    def usual_shares(self) -> Doubles | None:
        """The layers' mean shares with the reference images, float64 [layers]; None without them."""
        return None if self.usual is None else np.array([layer.sum() for layer in self.usual])

    def specific_maps(self) -> tuple[Doubles, ...]:
        """Returns ``maps`` less ``usual``; ``maps`` without reference images."""
        if self.usual is None:
            return self.maps
        return tuple(layer - usual for layer, usual in zip(self.maps, self.usual, strict=True))

    def heat_map(self, layer: int | None = None, *, specific: bool = False) -> npt.NDArray[np.float32]:
        """Spreads the contributions over the picture.

        Args:
            layer: 0 for the first; None for the sum of all.
            specific: Take what is usual among the reference images away.

        Returns:
            float32 [height, width] of ``pixels``: the density of the share, so that the mean over the picture is the
            share (of the layer or, for all, the cosine). Layers of any resolution can be compared and added. The
            picture is interpolated linearly between the map's places; the mean is kept exactly where the picture's
            side is a multiple of the map's, else nearly.

        Raises:
            IndexError: There is no such layer.
        """
        maps = self.specific_maps() if specific else self.maps
        chosen = maps if layer is None else (maps[layer],)
        height, width = self.pixels.shape[:2]
        total = np.zeros((height, width))
        for each in chosen:
            total += _upsample(each * each.size, height, width)
        return total.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The cosine of two images, taken apart; see the module's text for the mathematics.

    Attributes:
        similarity: The cosine, in float64; equals the engine's up to float32 rounding.
        first: What the first image's places contribute.
        second: The same for the second image.
        matrix: float64 [layers, layers]: the first image's layer (row) with the second's (column). Rows sum to
            ``first.shares``, columns to ``second.shares``, everything to ``similarity``.
        reference_images: How many reference images ``against`` held; 0 without.
        model: The model's file name.
    """

    similarity: float
    first: Side
    second: Side
    matrix: Doubles
    reference_images: int
    model: str

    @property
    def shares(self) -> Doubles:
        """The layers' shares, the mean of both directions, float64 [layers]; they sum to ``similarity``."""
        return (self.first.shares + self.second.shares) / 2

    @property
    def usual_shares(self) -> Doubles | None:
        """The layers' mean shares of both images with the reference images, float64 [layers]; None without them."""
        first, second = self.first.usual_shares, self.second.usual_shares
        return None if first is None or second is None else (first + second) / 2

    @property
    def specific_shares(self) -> Doubles:
        """``shares`` less ``usual_shares``, float64 [layers]; ``shares`` without reference images."""
        usual = self.usual_shares
        return self.shares if usual is None else self.shares - usual

    @property
    def layer_names(self) -> list[str]:
        """Such as "layer 3 (14 × 14)"; the size is that of the feature map, height first."""
        return [f"layer {k} ({m.shape[0]} × {m.shape[1]})" for k, m in enumerate(self.first.maps, start=1)]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but the pixels, as plain lists and dictionaries for JSON."""
        usual = self.usual_shares
        return {
            "version": 1,
            "model": self.model,
            "similarity": self.similarity,
            "layers": self.layer_names,
            "shares": self.shares.tolist(),
            "matrix": self.matrix.tolist(),
            "reference_images": self.reference_images,
            "usual_shares": None if usual is None else usual.tolist(),
            "images": [
                {
                    "path": side.name,
                    "shares": side.shares.tolist(),
                    "maps": [layer.tolist() for layer in side.maps],
                    "usual_maps": None if side.usual is None else [layer.tolist() for layer in side.usual],
                }
                for side in (self.first, self.second)
            ],
        }

    def table(self) -> str:
        """Lays the shares out as text."""
        usual = self.usual_shares
        lines = [f"similarity {self.similarity:.4f}", ""]
        head = f"{'layer':<20} {'share':>8} {'of all':>7} {'from 1st':>9} {'from 2nd':>9}"
        lines.append(head + ("" if usual is None else f" {'usual':>8} {'specific':>9}"))
        for k, name in enumerate(self.layer_names):
            part = self.shares[k] / self.similarity if self.similarity else 0.0
            line = f"{name:<20} {self.shares[k]:>8.4f} {part:>7.1%} {self.first.shares[k]:>9.4f} "
            line += f"{self.second.shares[k]:>9.4f}"
            lines.append(line + ("" if usual is None else f" {usual[k]:>8.4f} {self.specific_shares[k]:>+9.4f}"))
        if usual is not None:
            lines += [
                "",
                f"usual: the mean with {self.reference_images} reference images, {usual.sum():.4f} together; "
                f"specific to this pair: {self.specific_shares.sum():+.4f}",
            ]
        return "\n".join(lines)


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

    def __init__(self, model: rrn_native.PathLike | None = None, size: int = 224) -> None:
        from google.protobuf.message import DecodeError

        path = Path(model if model is not None else rrn_native.default_model())
        self._engine = rrn_native.Embedder(path, size, threads=1, provider="cpu", batch=1)
        try:
            proto = onnx.load(path)
        except DecodeError as error:
            raise ValueError(f"{path} is not an ONNX file") from error
        self.model = path.name
        self._sources = _feature_maps(proto, path)
        outputs = {value.name for value in proto.graph.output}
        for name in dict.fromkeys(self._sources):
            if name not in outputs:
                proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        try:
            self._session = cpu_session(proto.SerializeToString())
        except ModuleNotFoundError:
            raise
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
    size: int = 224,
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
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray((rows / np.where(norms > 0, norms, 1.0)).mean(axis=0))


def _maps(features: list[Doubles], norm: float, direction: Doubles) -> tuple[Doubles, ...]:
    """What each place adds to the cosine with a direction of length 1."""
    maps = []
    for layer in features:
        channels, height, width = layer.shape
        folded = direction.reshape(channels, -1).sum(axis=1)
        weights = _divided(folded, norm) / (len(features) * height * width)
        maps.append(np.einsum("c,chw->hw", weights, layer))
    return tuple(maps)


def _upsample(values: Doubles, height: int, width: int) -> Doubles:
    """Linear interpolation between the centres of the cells; beyond the outer centres the value stays."""
    for axis, length in ((0, height), (1, width)):
        cells = values.shape[axis]
        position = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
        low = np.floor(position).astype(np.int64)
        high = np.minimum(low + 1, cells - 1)
        part = (position - low).reshape((-1, 1) if axis == 0 else (1, -1))
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return values


def _reference(source: Path, model: Path | None, size: int) -> npt.NDArray[np.float32]:
    """Embeddings of a folder's readable images, or of a .npy file."""
    if source.is_dir():
        embedder = rrn_native.Embedder(model, size, provider="cpu")
        files = rrn_native.find_images(source)
        rows = embedder.embed(files, on_error="nan", progress=_show_progress if sys.stderr.isatty() else None)
        rows = rows[np.isfinite(rows).all(axis=1)]
        if not len(rows):
            raise ValueError(f"no readable image in {source}")
        return rows
    if source.suffix != ".npy":
        raise ValueError(f"--against {source} is neither a folder nor a .npy file of embeddings")
    loaded: npt.NDArray[np.float32] = np.load(source, allow_pickle=False)
    return loaded


def _show_progress(done: int, total: int) -> None:
    print(f"\r{done} / {total} reference images", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rrn explain",
        description="Say where the similarity of two images comes from: which layers, which places. The shares sum to "
        "the cosine exactly.",
        epilog="""examples:
  rrn explain a.jpg b.jpg                                    (a table)
  rrn explain a.jpg b.jpg --output why.png --json why.json
  rrn explain a.jpg b.jpg --output why.png --against photos/ (less what all photos share)

Exit codes: 0 done, 2 wrong usage, 3 an image cannot be read, 4 model, runtime or output failed.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", type=Path, metavar="A", help="an image")
    parser.add_argument("second", type=Path, metavar="B", help="another one")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.png", help="draw both images with their shares (.png, .svg, .pdf)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR|FILE.npy",
        help="reference images, or their embeddings: tell what is specific to this pair from what is usual",
    )
    parser.add_argument("--model", type=Path, metavar="FILE.onnx", help="default: the model that comes with rrn")
    parser.add_argument("--size", type=int, default=224, metavar="PIXELS", help="input size (default %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.output is not None:
            from rrn_native.analysis import plots

            plots.check_format(arguments.output)
        for image in (arguments.first, arguments.second):
            if not image.is_file():
                raise FileNotFoundError(f"{image}: no such file")
        if not 32 <= arguments.size <= 4096:
            raise ValueError(f"--size is {arguments.size}, expected 32 to 4096")
        try:
            explainer = Explainer(arguments.model, arguments.size)
        except (OSError, ValueError, rrn_native.RrnError) as error:
            return fail("rrn explain", error, RUNTIME_ERROR)
        against = None
        if arguments.against is not None:
            against = _reference(arguments.against, arguments.model, arguments.size)
        explanation = explainer.explain(arguments.first, arguments.second, against=against)
        if arguments.json is not None:
            write_file(arguments.json, (json.dumps(explanation.to_dict()) + "\n").encode())
        if arguments.output is not None:
            plots.save(plots.explanation_figure(explanation), arguments.output)
    except UnreadableError as error:
        return fail("rrn explain", error, NOTHING_READABLE)
    except (OSError, ValueError, rrn_native.RrnError) as error:
        return fail("rrn explain", error, failure_code(error))
    print(explanation.table())
    return 0
