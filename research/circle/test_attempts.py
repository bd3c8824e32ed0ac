"""Each mistake of the usual first attempt is noticed by its guard, and the repaired attempt by none."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from research.circle import first_attempt, guards  # noqa: E402
from research.circle.first_attempt import BUGS, REPAIRED, Attempt  # noqa: E402


def test_there_is_a_guard_for_each_mistake() -> None:
    assert set(guards.GUARDS) == set(BUGS)


@pytest.mark.parametrize("bug", BUGS)
def test_a_mistake_fails_its_guard(bug: str) -> None:
    assert guards.symptom(guards.GUARDS[bug], BUGS[bug]) != ""


@pytest.mark.parametrize("bug", BUGS)
def test_the_repaired_attempt_passes(bug: str) -> None:
    assert guards.GUARDS[bug](REPAIRED) == ""


@pytest.mark.parametrize(
    ("bug", "words"),
    [
        ("labels with labels", "no gradient"),
        ("no backbone", "all pictures get one answer"),
        ("missing return", "returns None"),
        ("other name", "no forward"),
        ("loss scales", "differ by a factor"),
        ("inputs 0 ... 255", "as large as 255"),
        ("no eval mode", "other pictures of its batch"),
        ("no shuffle", "8 of 8 batches lack a colour"),
        ("argmax over the batch", "for each of 8 pictures, got 3"),
        ("value for index", "other colours"),
    ],
)
def test_a_guard_says_what_is_wrong(bug: str, words: str) -> None:
    assert words in guards.symptom(guards.GUARDS[bug], BUGS[bug])


@pytest.mark.parametrize("bug", ["loss scales", "inputs 0 ... 255", "no eval mode", "no shuffle"])
def test_a_quiet_mistake_is_noticed_by_its_own_guard_only(bug: str) -> None:
    assert [name for name, guard in guards.GUARDS.items() if guards.symptom(guard, BUGS[bug])] == [bug]


def test_a_loss_that_forgets_one_part_is_noticed() -> None:
    def without_colour(answer: tuple[torch.Tensor, torch.Tensor], batch: object) -> torch.Tensor:
        return first_attempt.terms((answer[0], answer[1].detach()), batch)  # type: ignore[arg-type]

    assert guards.gradient(Attempt(terms=without_colour)) != ""


@pytest.mark.parametrize(
    ("bug", "error"),
    [("labels with labels", "RuntimeError"), ("missing return", "TypeError"), ("other name", "NotImplementedError")],
)
def test_a_loud_mistake_cannot_be_trained(bug: str, error: str) -> None:
    assert first_attempt.outcome(BUGS[bug], 1)["raises"].startswith(error)


def test_a_quiet_mistake_trains_and_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_attempt, "TEST_COUNT", 16)
    monkeypatch.setattr(first_attempt, "COUNT", 64)
    found = first_attempt.outcome(dataclasses.replace(BUGS["value for index"]), 2)
    assert found["pictures"] == 16
    assert 0 <= found["colour_reported"] <= 1


def test_samples_lie_in_folders_and_are_shuffled() -> None:
    labels = first_attempt.in_folders(96)
    assert [each.colour for each in labels] == sorted(each.colour for each in labels)
    rows = first_attempt.batches(REPAIRED, labels, 6)
    assert sorted(map(str, rows[0] + rows[1] + rows[2])) == sorted(map(str, labels))
    assert first_attempt.batches(BUGS["no shuffle"], labels, 3)[0] == labels[:32]
