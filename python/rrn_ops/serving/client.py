"""Asks a server for embeddings and similar pictures, over HTTP or gRPC.

Every failure is a :class:`ServeError` of one line: no server, no such model, a picture that cannot be read, a server
that went away in the middle.
"""

from __future__ import annotations

import dataclasses
import http.client
import importlib
import os
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from rrn_native.cli.common import one_line

from rrn_ops.serving.runtime import ServeError

Protocol = Literal["http", "grpc"]
Picture = bytes | str | os.PathLike[str]
Answer = TypeVar("Answer")
PORTS = {"http": 8000, "grpc": 8001}


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """The answer to pictures.

    Attributes:
        rows: float32 [n, dim]; NaN where a picture failed.
        errors: One text for each picture; empty where it did not fail.
    """

    rows: npt.NDArray[np.float32]
    errors: list[str]


@dataclasses.dataclass(frozen=True)
class Similar:
    """The pictures of the gallery that are most similar to one.

    Attributes:
        matches: Names and cosines in descending order; empty where the picture failed.
        error: Why it failed; empty where it did not.
    """

    matches: list[tuple[str, float]]
    error: str


@dataclasses.dataclass(frozen=True)
class Counts:
    """What a server has counted of a model since it was started.

    Attributes:
        pictures: That were embedded, or whatever else an item of a batch is.
        executions: Batches; fewer than pictures where requests were put together.
        queue_ms: Time of all requests in the queue, in milliseconds.
        compute_ms: Time of all requests in computation, input and output included.
    """

    pictures: int
    executions: int
    queue_ms: float
    compute_ms: float

    @classmethod
    def of(cls, statistics: dict[str, Any]) -> Counts:
        """Reads an entry of :meth:`Client.statistics`; gRPC's JSON has numbers as text, and leaves zeros out."""
        spent = {name: int(part.get("ns", 0)) / 1e6 for name, part in statistics.get("inference_stats", {}).items()}
        return cls(
            int(statistics.get("inference_count", 0)),
            int(statistics.get("execution_count", 0)),
            spent.get("queue", 0.0),
            sum(spent.get(name, 0.0) for name in ("compute_input", "compute_infer", "compute_output")),
        )


class RefusedError(ServeError):
    """The server refuses a request, such as one whose only picture cannot be read."""


def direct() -> urllib.request.OpenerDirector:
    """Returns what opens addresses without the proxy that the environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Client:
    """A connection to a server. Not for several threads at the same time; each makes its own.

    Args:
        host: Where the server is.
        port: The port of the protocol; None for Triton's own, 8000 and 8001.
        protocol: "http" or "grpc".
        timeout: How long an answer may take, in seconds.
        metrics_port: Of :meth:`metrics`, which is HTTP in any case.

    Raises:
        ImportError: tritonclient is not installed.
        ValueError: There is no such protocol.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int | None = None,
        *,
        protocol: Protocol = "http",
        timeout: float = 60.0,
        metrics_port: int = 8002,
    ) -> None:
        if protocol not in PORTS:
            raise ValueError(f"protocol is {protocol!r}, expected 'http' or 'grpc'")
        self._triton = importlib.import_module(f"tritonclient.{protocol}")
        self._errors = _errors(protocol)
        self.url = f"{host}:{port or PORTS[protocol]}"
        self._host, self._timeout, self._metrics_port = host, timeout, metrics_port
        more = {"connection_timeout": timeout, "network_timeout": timeout} if protocol == "http" else {}
        self._limit = {"client_timeout": timeout} if protocol == "grpc" else {}
        self._json = {"as_json": True, **self._limit} if protocol == "grpc" else {}
        self._client = self._triton.InferenceServerClient(self.url, **more)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection. A server that is asked to stop waits for open ones."""
        self._client.close()

    def live(self) -> bool:
        """Whether the server answers; a server that is not there is False."""
        try:
            return bool(self._call(lambda: self._client.is_server_live(**self._limit)))
        except ServeError:
            return False

    def ready(self, model: str = "") -> bool:
        """Whether a model, or the server with all of its models, is ready.

        Raises:
            ServeError: There is no answer.
        """
        if model:
            return bool(self._call(lambda: self._client.is_model_ready(model, **self._limit)))
        return bool(self._call(lambda: self._client.is_server_ready(**self._limit)))

    def models(self) -> list[str]:
        """The names of the models that the server serves.

        Raises:
            ServeError: There is no answer.
        """
        return sorted({str(each["name"]) for each in self.statistics()})

    def statistics(self, model: str = "") -> list[dict[str, Any]]:
        """What the server counts: requests, executions, and the time in the queue and in computation, in nanoseconds.

        Raises:
            ServeError: There is no answer, or no such model.
        """
        found = self._call(lambda: self._client.get_inference_statistics(model, **self._json))
        return list(found.get("model_stats", []))

    def metrics(self) -> str:
        """The server's metrics as Prometheus reads them.

        Raises:
            ServeError: There is no answer.
        """
        url = f"http://{self._host}:{self._metrics_port}/metrics"
        try:
            with direct().open(url, timeout=self._timeout) as answer:
                return str(answer.read().decode())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServeError(f"{url}: {error}") from error

    def embed(self, pictures: Sequence[Picture], model: str = "rrn") -> Embeddings:
        """Embeds pictures, in one request or in as few as the model's largest batch allows.

        Args:
            pictures: Contents of picture files, or paths of files of this machine.
            model: A model that takes `image` and gives `embedding` and `error`.

        Raises:
            ServeError: There is no answer, no such model, or the one picture of a request cannot be read.
            OSError: A file cannot be read.
        """
        rows, errors = self._infer(model, pictures, ("embedding", "error"))
        return Embeddings(rows, [text.decode("utf-8", "replace") for text in errors.ravel()])

    def similar(self, pictures: Sequence[Picture], model: str = "rrn_similar") -> list[Similar]:
        """Finds the most similar pictures of the server's gallery for each of some pictures.

        Args:
            pictures: As for :meth:`embed`.
            model: A model that takes `image` and gives `names`, `similarity` and `error`.

        Raises:
            ServeError, OSError: As for :meth:`embed`.
        """
        names, values, errors = self._infer(model, pictures, ("names", "similarity", "error"))
        found = []
        for row, cosines, error in zip(names, values, errors.ravel(), strict=True):
            pairs = zip(row, cosines, strict=True)
            matches = [(name.decode("utf-8", "surrogateescape"), float(cosine)) for name, cosine in pairs]
            found.append(Similar([] if error else matches, error.decode("utf-8", "replace")))
        return found

    def infer(self, model: str, inputs: dict[str, npt.NDArray[Any]], outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Sends tensors to any model.

        Args:
            model: Its name.
            inputs: Arrays by name, the batch in front: float32, or bytes objects as dtype object.
            outputs: What to ask for.

        Raises:
            ServeError: There is no answer, or the model refuses.
        """
        sent = []
        for name, array in inputs.items():
            tensor = self._triton.InferInput(name, array.shape, "BYTES" if array.dtype == object else "FP32")
            tensor.set_data_from_numpy(array)
            sent.append(tensor)
        wanted = [self._triton.InferRequestedOutput(name) for name in outputs]
        answer = self._call(lambda: self._client.infer(model, sent, outputs=wanted, **self._limit))
        return [answer.as_numpy(name) for name in outputs]

    def _infer(self, model: str, pictures: Sequence[Picture], outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        if isinstance(pictures, bytes | str | os.PathLike):
            raise TypeError("expected a sequence of pictures, got one; put it into a list")
        if not pictures:
            raise ValueError("there are no pictures")
        contents = [each if isinstance(each, bytes) else Path(each).read_bytes() for each in pictures]
        images = np.empty((len(contents), 1), dtype=np.object_)
        images[:, 0] = contents
        most = self._max_batch(model) if len(images) > 1 else 1
        answers = [
            self.infer(model, {"image": images[begin : begin + most]}, outputs) for begin in range(0, len(images), most)
        ]
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]

    def _max_batch(self, model: str) -> int:
        found = self._call(lambda: self._client.get_model_config(model, **self._json))
        return max(1, int(found.get("config", found).get("max_batch_size", 1)))

    def _call(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except self._errors as error:
            kind = RefusedError if _refuses(error) else ServeError
            raise kind(f"{self.url}: {_message(error)}") from error


def _errors(protocol: Protocol) -> tuple[type[Exception], ...]:
    """What may come out of tritonclient: its own errors, and over HTTP those of the library below it."""
    from tritonclient.utils import InferenceServerException

    if protocol == "grpc":
        return (InferenceServerException,)
    from geventhttpclient.response import HTTPParseError

    return (InferenceServerException, HTTPParseError, OSError)


def _refuses(error: Exception) -> bool:
    status = getattr(error, "status", None)
    return callable(status) and str(status()) in ("400", "StatusCode.INVALID_ARGUMENT")


def _message(error: Exception) -> str:
    text = one_line(error)
    lost = ("UNAVAILABLE" in text, type(error).__name__ == "HTTPConnectionClosed", isinstance(error, ConnectionError))
    if any(lost):
        return f"the server is not there, or went away ({text or type(error).__name__})"
    return text or type(error).__name__
