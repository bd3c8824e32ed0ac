"""A check for each mistake of the usual first attempt: cheap, without any training, and exact about what is wrong.

A guard takes an attempt and returns what is wrong in words, or "" where all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from research.circle import first_attempt, network
from research.circle.first_attempt import Attempt
from research.circle.network import Batch

Guard = Callable[[Attempt], str]

# Gradients of the loss's terms on the first layer may differ by this factor, and inputs be as large as this.
MOST_RATIO = 100.0
MOST_INPUT = 4.0
_TOLERANCE = 1e-4


def _batch(count: int = 8) -> Batch:
    labels = first_attempt.in_folders(first_attempt.BATCH)
    return network.collate(labels[:: len(labels) // count][:count])


def _model(attempt: Attempt) -> torch.nn.Module:
    torch.manual_seed(0)
    return attempt.build()


def name(attempt: Attempt) -> str:
    """The network has the method that a call of it needs."""
    return "" if type(_model(attempt)).forward is not torch.nn.Module.forward else "no forward"


def returns(attempt: Attempt) -> str:
    """A call returns circles and logits, [N, 3] each."""
    batch = _batch()
    answer = _model(attempt)(attempt.prepare(batch.pictures))
    if answer is None:
        return "forward returns None"
    shapes = [tuple(each.shape) for each in answer]
    return "" if shapes == [(len(batch.sizes), 3)] * 2 else f"expected two results [N, 3], got {shapes}"


def gradient(attempt: Attempt) -> str:
    """The loss depends on the answer."""
    batch = _batch()
    answer = (torch.full((len(batch.sizes), 3), 0.3, requires_grad=True), torch.zeros(len(batch.sizes), 3))
    answer[1].requires_grad_()
    loss = attempt.terms(answer, batch).sum()
    if not loss.requires_grad:
        return "the loss has no gradient: it does not depend on the answer"
    parts = torch.autograd.grad(loss, answer, allow_unused=True)
    return (
        "" if all(part is not None and bool(part.any()) for part in parts) else "a part of the answer has no gradient"
    )


def picture(attempt: Attempt) -> str:
    """The answer depends on the picture."""
    model = _model(attempt).eval()
    pictures = attempt.prepare(_batch().pictures)
    circles, _ = model(pictures)
    return "" if float(circles.detach().std(0).max()) > 0 else "all pictures get one answer"


def scales(attempt: Attempt) -> str:
    """No term of the loss drowns the others in the layers that they share."""
    batch, model = _batch(), _model(attempt)
    found = attempt.terms(model(attempt.prepare(batch.pictures)), batch)
    first = next(model.parameters())
    sizes = [float(torch.autograd.grad(term, first, retain_graph=True)[0].norm()) for term in found]
    ratio = max(sizes) / max(min(sizes), 1e-30)
    return "" if ratio <= MOST_RATIO else f"gradients of the terms differ by a factor of {ratio:.3g}"


def inputs(attempt: Attempt) -> str:
    """What the network gets is of the order of one."""
    most = float(attempt.prepare(_batch().pictures).abs().max())
    return "" if most <= MOST_INPUT else f"inputs are as large as {most:.3g}"


def alone(attempt: Attempt) -> str:
    """A picture's answer does not depend on the other pictures of its batch."""
    model = _model(attempt)
    attempt.ready(model)
    pictures = attempt.prepare(_batch().pictures)
    with torch.no_grad():
        together = torch.cat(model(pictures), 1)
        single = torch.cat([torch.cat(model(each[None]), 1) for each in pictures])
    most = float((together - single).abs().max())
    return "" if most <= _TOLERANCE else f"an answer changes by {most:.3g} with the other pictures of its batch"


def mixed(attempt: Attempt) -> str:
    """Every batch of the first epoch has all colours."""
    labels = first_attempt.in_folders(8 * first_attempt.BATCH)
    seen = [len({each.colour for each in batch}) for batch in first_attempt.batches(attempt, labels, 8)]
    return "" if min(seen) == 3 else f"{sum(count < 3 for count in seen)} of {len(seen)} batches lack a colour"


def colours(attempt: Attempt) -> str:
    """Logits that say the truth are read as the truth."""
    true = _batch().colours
    found = attempt.colours(10.0 * torch.nn.functional.one_hot(true, 3))
    if found.shape != true.shape:
        return f"expected a colour for each of {len(true)} pictures, got {len(found)}"
    return "" if torch.equal(found, true) else "right logits are read as other colours"


GUARDS: Mapping[str, Guard] = {
    "labels with labels": gradient,
    "no backbone": picture,
    "missing return": returns,
    "other name": name,
    "loss scales": scales,
    "inputs 0 ... 255": inputs,
    "no eval mode": alone,
    "no shuffle": mixed,
    "argmax over the batch": colours,
    "value for index": colours,
}


def symptom(guard: Guard, attempt: Attempt) -> str:
    """Returns what a guard finds; where the attempt cannot even be run, the error."""
    try:
        return guard(attempt)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
