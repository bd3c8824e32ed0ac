"""What own code plugs into: metrics and predictors.

A metric is a function of :class:`Data` that returns a number, or one number for each image whose mean is the metric
(float64 [n], NaN for images that it is not about); the second form is faster, because a bootstrap needs no further
calls. :func:`metric` says which direction is better and how it is called::

    @metric(higher_is_better=True)
    def top_two(data: Data) -> FloatArray:
        best = np.argsort(-data.outputs, axis=1)[:, :2]
        return (best == data.labels[:, None]).any(axis=1).astype(float)

    rrn eval run ... --metric my_metrics.py:top_two

A predictor is what :class:`Predictor` describes; ``--model package.module:function`` calls the function with no
argument, or with what comes after a second colon.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Outputs = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]
Task = Literal["classification", "embeddings"]
Takes = Literal["arrays", "paths"]


class EvaluationError(RuntimeError):
    """A step could not do its work: the model fails, a server does not answer, a metric raises."""


@dataclasses.dataclass(frozen=True)
class Data:
    """The predictions of a model and what was expected of it.

    Attributes:
        task: "classification" or "embeddings".
        outputs: float32 [n, d]: logits or probabilities of the d classes, or embeddings.
        labels: int64 [n], positions in ``classes``: the expected class, or the group.
        classes: The names of the classes or groups.
        images: n paths.
        slices: For each further column of the inputs, n values.
        expected: float32 [n, d], the column ``output``; NaN in rows without one. None where there is no such column.
        probabilities: float64 [n, d], what ``outputs`` means as probabilities; None for embeddings.
    """

    task: Task
    outputs: Outputs
    labels: IndexArray
    classes: tuple[str, ...]
    images: tuple[Path, ...]
    slices: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    expected: Outputs | None = None
    probabilities: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> IndexArray:
        """The position of the largest output of each row, int64 [n]."""
        return np.asarray(self.outputs.argmax(axis=1), dtype=np.int64)

    def take(self, rows: npt.ArrayLike) -> Data:
        """Returns the data of some rows, in this order; a row may come several times, as in a bootstrap.

        Args:
            rows: int64 [m], positions, or bool [n].
        """
        chosen = np.arange(len(self))[np.asarray(rows)]
        return dataclasses.replace(
            self,
            outputs=self.outputs[chosen],
            labels=self.labels[chosen],
            images=tuple(self.images[row] for row in chosen),
            slices={name: tuple(values[row] for row in chosen) for name, values in self.slices.items()},
            expected=None if self.expected is None else self.expected[chosen],
            probabilities=None if self.probabilities is None else self.probabilities[chosen],
        )


Metric = Callable[[Data], "float | FloatArray"]


def metric(*, higher_is_better: bool = True, name: str | None = None) -> Callable[[Metric], Metric]:
    """Describes a metric; without it, higher is better and the function's name is the metric's.

    Args:
        higher_is_better: Which direction the gate protects.
        name: What reports and baselines call it.
    """

    def describe(function: Metric) -> Metric:
        function.higher_is_better = higher_is_better  # type: ignore[attr-defined]
        function.metric_name = name or getattr(function, "__name__", "metric")  # type: ignore[attr-defined]
        return function

    return describe


@dataclasses.dataclass(frozen=True)
class Description:
    """What a predictor says about its model before it predicts.

    Attributes:
        fingerprint: Changes when the model's results may change; steps that depend on the model run again then.
        takes: Whether :meth:`Predictor.predict` gets arrays or paths.
        input_shape: (channels, height, width), for a predictor that takes arrays; None where the model does not say.
        outputs: The length of an output row; None where the model does not say.
        embeds: The outputs are known to be embeddings.
    """

    fingerprint: str
    takes: Takes = "arrays"
    input_shape: tuple[int, int, int] | None = None
    outputs: int | None = None
    embeds: bool = False


class Predictor(Protocol):
    """A model. An implementation may be any class with these two methods."""

    def describe(self) -> Description:
        """Says what the model is and takes; is to be cheap, because each run of ``rrn eval`` asks."""
        ...

    def predict(self, batch: npt.NDArray[np.float32] | Sequence[Path]) -> npt.NDArray[Any]:
        """Returns a row for each image.

        Args:
            batch: float32 [b, channels, height, width], or b paths where ``takes`` is "paths".

        Returns:
            Numbers, [b, d].

        Raises:
            EvaluationError: The model cannot be run.
        """
        ...


def split_spec(spec: str) -> tuple[str, str, str]:
    """Splits ``module:function``, ``module:function:argument`` or ``file.py:function`` into three parts.

    Raises:
        ValueError: It has another form.
    """
    module, _, rest = spec.partition(":")
    function, _, argument = rest.partition(":")
    if not module or not function.isidentifier():
        raise ValueError(f"{spec!r}: expected package.module:function or file.py:function")
    return module, function, argument


def load_module(name: str, folder: Path) -> ModuleType:
    """Imports a module by its name, or a file that ends in ``.py``.

    Args:
        name: As in a spec.
        folder: Where modules and relative files are looked for, besides Python's own path.

    Raises:
        ValueError: There is no such module, or it cannot be imported; the reason is named.
    """
    try:
        if not name.endswith(".py"):
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
            return importlib.import_module(name)
        path = folder / name
        # Modules beside the file can be imported from it, as with python file.py.
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        # A name of its own, so that a file called like a library hides nothing.
        found = importlib.util.spec_from_file_location(f"_rrn_eval_{path.stem}", path)
        if found is None or found.loader is None or not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        module = importlib.util.module_from_spec(found)
        sys.modules[found.name] = module
        found.loader.exec_module(module)
        return module
    except Exception as error:
        raise ValueError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def load_function(spec: str, folder: Path) -> Callable[..., Any]:
    """Returns the function that a spec names.

    Args:
        spec: ``package.module:function`` or ``file.py:function``.
        folder: As for :func:`load_module`.

    Raises:
        ValueError: There is no such module or function.
    """
    name, function, _ = split_spec(spec)
    found = getattr(load_module(name, folder), function, None)
    if not callable(found):
        raise ValueError(f"{spec}: {name} has no function {function!r}")
    made: Callable[..., Any] = found
    return made
