"""What ``rrn serve client`` asks, and the answers for people and for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from rrn_ops.serving.client import Client, Counts, RefusedError


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        result: For programs: what :mod:`json` can write.
        lines: For people.
        complete: False where a picture failed, or something is not ready.
    """

    result: object
    lines: list[str]
    complete: bool = True


def embed(client: Client, images: Sequence[Path], model: str) -> Answer:
    """The embeddings of pictures."""
    try:
        answer = client.embed(images, model or "rrn")
    except RefusedError as refusal:
        return _refused(images, "embedding", refusal)
    result, lines = [], []
    for path, row, error in zip(images, answer.rows, answer.errors, strict=True):
        result.append({"image": str(path), "error": error, "embedding": None if error else row.tolist()})
        numbers = " ".join(f"{value:.4f}" for value in row[:6])
        lines.append(f"{path}: {error or f'{numbers} ... ({len(row)} numbers)'}")
    return Answer(result, lines, not any(answer.errors))


def similar(client: Client, images: Sequence[Path], model: str) -> Answer:
    """The pictures of the gallery that are most similar to each."""
    try:
        answers = client.similar(images, model or "rrn_similar")
    except RefusedError as refusal:
        return _refused(images, "matches", refusal)
    result, lines = [], []
    for path, answer in zip(images, answers, strict=True):
        result.append({"image": str(path), "error": answer.error, "matches": answer.matches})
        lines.append(f"{path}{': ' if answer.error else ''}{answer.error}")
        lines += [f"  {cosine:.4f}  {name}" for name, cosine in answer.matches]
    return Answer(result, lines, not any(answer.error for answer in answers))


def _refused(images: Sequence[Path], what: str, error: RefusedError) -> Answer:
    """The answer where a request of one picture is refused for it.

    Raises:
        RefusedError: There are more pictures.
    """
    if len(images) != 1:
        raise error
    return Answer([{"image": str(images[0]), "error": str(error), what: None}], [f"{images[0]}: {error}"], False)


def health(client: Client, images: Sequence[Path], model: str) -> Answer:
    """Does the server answer, and is each of its models ready?"""
    del images, model
    if not client.live():
        return Answer({"live": False, "ready": False, "models": {}}, [f"{client.url}: no server answers"], False)
    models = {name: client.ready(name) for name in client.models()}
    ready = client.ready()
    states = {"server": ready, **models}
    lines = [f"{name}: {'ready' if fine else 'not ready'}" for name, fine in states.items()]
    return Answer({"live": True, "ready": ready, "models": models}, lines, all(states.values()))


def statistics(client: Client, images: Sequence[Path], model: str) -> Answer:
    """Requests, executions, and mean times of each model."""
    del images
    found = client.statistics(model)
    lines = [f"{'model':<24} {'pictures':>9} {'executions':>10} {'batch':>6} {'queue ms':>9} {'compute ms':>10}"]
    for each in found:
        counts = Counts.of(each)
        batch = counts.pictures / max(counts.executions, 1)
        queue, compute = (spent / max(counts.pictures, 1) for spent in (counts.queue_ms, counts.compute_ms))
        numbers = f"{counts.pictures:>9} {counts.executions:>10} {batch:>6.1f} {queue:>9.2f} {compute:>10.2f}"
        lines.append(f"{each['name']:<24} {numbers}")
    return Answer(found, lines)


def metrics(client: Client, images: Sequence[Path], model: str) -> Answer:
    """The server's metrics as Prometheus reads them."""
    del images, model
    text = client.metrics()
    return Answer(text, text.splitlines())


QUESTIONS: dict[str, Callable[[Client, Sequence[Path], str], Answer]] = {
    "embed": embed,
    "similar": similar,
    "health": health,
    "statistics": statistics,
    "metrics": metrics,
}
