"""Measures four ways to compute pictures of unequal sizes: time, memory, and whether their answers agree."""

from __future__ import annotations

import functools
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rrn_ops.streaming import child

from research.circle import ragged
from research.circle.data import CANVAS, Label, Spec, draw, label
from research.circle.evaluate import TEST_SEED
from research.circle.network import Batch, CircleNet, chw, collate
from research.common import timing
from research.common.places import ROOT

Json = dict[str, Any]
Answer = tuple[torch.Tensor, torch.Tensor]

# Least and greatest side of the pictures of a batch.
SPREADS: Mapping[str, tuple[int, int]] = {"equal": (100, 100), "mixed": (48, 160), "wide": (64, 512)}
_GROUPS = 4
_TIMEOUT = 900
PADDINGS: Mapping[str, int] = {"black": 0, "white": CANVAS}


def padded(model: CircleNet, labels: Sequence[Label]) -> Answer:
    """All in one batch, as large as the largest."""
    batch = collate(labels)
    answer: Answer = model(batch.pictures, batch.sizes)
    return answer


def grouped(model: CircleNet, labels: Sequence[Label]) -> Answer:
    """In four batches of pictures of like area."""
    ranks = sorted(range(len(labels)), key=lambda index: labels[index].height * labels[index].width)
    parts = [part.tolist() for part in np.array_split(np.array(ranks), min(_GROUPS, len(ranks)))]
    found = [padded(model, [labels[index] for index in part]) for part in parts]
    back = torch.tensor([index for part in parts for index in part]).argsort()
    return torch.cat([one for one, _ in found])[back], torch.cat([two for _, two in found])[back]


def one_by_one(model: CircleNet, labels: Sequence[Label]) -> Answer:
    """Each alone."""
    found = [padded(model, [each]) for each in labels]
    return torch.cat([one for one, _ in found]), torch.cat([two for _, two in found])


def nested(model: CircleNet, labels: Sequence[Label]) -> Answer:
    """As a nested tensor, without padding, see research.circle.ragged."""
    return ragged.forward(model, [chw(draw(each)) for each in labels])


WAYS: Mapping[str, Callable[[CircleNet, Sequence[Label]], Answer]] = {
    "padded": padded,
    "grouped": grouped,
    "one by one": one_by_one,
    "nested": nested,
}


def difference(one: Answer, two: Answer) -> Json:
    """Returns the greatest differences of two answers, in pixels and in logits."""
    names = ("px", "logits")
    return {name: float((a - b).detach().abs().max()) for name, a, b in zip(names, one, two, strict=True)}


def without_masks(model: CircleNet, labels: Sequence[Label], padding: int) -> Answer:
    """A padded batch that the network takes for pictures of the batch's size: what masks are for."""
    batch = collate(labels, padding=padding)
    whole = torch.tensor([batch.pictures.shape[2:]] * len(labels))
    answer: Answer = model(batch.pictures, whole)
    return answer


def _quiet() -> None:
    # Nested tensors make PyTorch warn of a function of its own.
    logging.getLogger("torch.fx").setLevel(logging.ERROR)


def pictures(spread: str, count: int) -> list[Label]:
    """Returns the labels of a batch of SPREADS."""
    least, most = SPREADS[spread]
    return [label(Spec(TEST_SEED + 1, count, least, most), index) for index in range(count)]


def step(way: str, model: CircleNet, labels: Sequence[Label], *, learn: bool) -> Answer:
    """Computes answers, and with `learn` the gradients of their sum."""
    with torch.enable_grad() if learn else torch.no_grad():
        answer = WAYS[way](model, labels)
        if learn:
            model.zero_grad()
            (answer[0].sum() + answer[1].sum()).backward()  # type: ignore[no-untyped-call]
    return answer


def measure(model: CircleNet, folder: Path, *, count: int = 32, rounds: int = 3) -> Json:
    """Measures all ways on all spreads, on one thread.

    Args:
        model: The trained network.
        folder: Where the processes that measure memory find it (research.circle.train.trained).
        count: Pictures of a batch.
        rounds: Of times, all ways in turn.

    Returns:
        "count"; "rows", a record for each spread and way; "operators", see research.circle.ragged.operators;
        "without_masks", differences to right answers by the padding's colour.
    """
    _quiet()
    rows = []
    for spread in SPREADS:
        labels = pictures(spread, count)
        alone = step("one by one", model, labels, learn=False)
        times = {
            learn: timing.interleaved(
                {way: functools.partial(step, way, model, labels, learn=learn) for way in WAYS}, rounds
            )
            for learn in (False, True)
        }
        batch = collate(labels)
        filled = float(batch.sizes.prod(1).sum()) / batch.pictures[:, 0].numel()
        for way in WAYS:
            rows.append(
                {"spread": spread, "sides": list(SPREADS[spread]), "way": way, "filled": round(filled, 4)}
                | {"answer": times[False][way].to_json("ms", 1000), "step": times[True][way].to_json("ms", 1000)}
                | {"peak_mib": peak(folder, way, spread, count)}
                | {"difference": difference(step(way, model, labels, learn=False), alone)}
            )
    mixed = pictures("mixed", count)
    with torch.no_grad():
        alone = one_by_one(model, mixed)
        unmasked = {name: difference(without_masks(model, mixed, padding), alone) for name, padding in PADDINGS.items()}
    return {"count": count, "rows": rows, "operators": ragged.operators(), "without_masks": unmasked}


def peak(folder: Path, way: str, spread: str, count: int) -> float:
    """Returns the MiB that one training step adds at its peak, in a process of its own.

    Raises:
        OSError: The process failed, or its time is over.
    """
    command = [sys.executable, "-m", "research.circle.unequal", str(folder.resolve()), way, spread, str(count)]
    # Where this process is killed, that one ends, too.
    with subprocess.Popen(child.bound(command), cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        try:
            said, _ = worker.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(
                f"{way}, {spread}: expected its memory within {_TIMEOUT} s, got no answer; use a faster machine"
            ) from error
        finally:
            child.end(worker)
    if worker.returncode:
        raise OSError(
            f"{way}, {spread}: expected status 0 of the process that measures memory, got {worker.returncode}; "
            "what it prints says more"
        )
    found: float = json.loads(said)
    return found


def _peak(folder: Path, way: str, spread: str, count: int) -> float:
    from research.circle import train

    _quiet()
    torch.set_num_threads(1)
    model, labels = train.trained(folder), pictures(spread, count)
    # A first small step loads what PyTorch loads only once.
    step(way, model, pictures("equal", 1), learn=True)
    Path("/proc/self/clear_refs").write_text("5")  # The peak begins again at what is in use now.
    before = _status("VmHWM")
    step(way, model, labels, learn=True)
    return timing.significant((_status("VmHWM") - before) / 1024)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(found.split()[1])


def invariance(model: CircleNet, spec: Spec, count: int) -> float:
    """Returns the greatest difference in pixels between a picture alone and in batches padded in black and in white.

    Args:
        model: The network.
        spec: Unequal sizes.
        count: Pictures.
    """
    labels = [label(spec, index) for index in range(count)]
    most = max(max(each.height, each.width) for each in labels)
    with torch.no_grad():
        alone = one_by_one(model, labels)[0]
        batches: list[Batch] = [collate(labels, padding=padding, least=most + 13) for padding in PADDINGS.values()]
        together = [model(batch.pictures, batch.sizes)[0] for batch in batches]
    return max(float((each - alone).abs().max()) for each in together)


if __name__ == "__main__":
    print(json.dumps(_peak(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))))
