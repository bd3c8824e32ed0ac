"""Interpolating weights: the ends are the networks, the middle is between them, other networks are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from research.training import interpolate
from research.training.student import Student, load_student, save_state


@settings(deadline=None)
@given(share=st.floats(0, 1), first=st.floats(-1e3, 1e3), second=st.floats(-1e3, 1e3))
def test_each_number_lies_on_the_way(share: float, first: float, second: float) -> None:
    states = [{"a": torch.tensor([value]), "n": torch.tensor(7)} for value in (first, second)]
    found = interpolate.between(*states, share)
    wanted = states[0]["a"].double() * (1 - share) + states[1]["a"].double() * share
    torch.testing.assert_close(found["a"], wanted.float(), rtol=1e-5, atol=1e-3)
    assert found["n"] == 7


def test_other_networks_are_refused() -> None:
    state = {"a": torch.zeros(3)}
    with pytest.raises(ValueError, match="b is in one of the two networks only"):
        interpolate.between(state, {"a": torch.zeros(3), "b": torch.zeros(1)}, 0.5)
    with pytest.raises(ValueError, match=r"a: \[3\] in one network, \[4\] in the other"):
        interpolate.between(state, {"a": torch.zeros(4)}, 0.5)


def test_a_file_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / name for name in ("first.pth", "second.pth", "between.pth")]
    states = [Student().state_dict() for _ in range(2)]
    for file, state in zip(files, states, strict=False):
        save_state(file, state)
    words = [str(files[0]), str(files[1]), "--share", "0.25", "--output", str(files[2])]
    assert interpolate.main(words) == 0
    found = load_student(files[2]).state_dict()["conv1.weight"]
    wanted = 0.75 * states[0]["conv1.weight"] + 0.25 * states[1]["conv1.weight"]
    torch.testing.assert_close(found, wanted)
    assert interpolate.main([*words, "--share", "1.5"]) == 2
    assert capsys.readouterr().err == "interpolate: --share 1.5: expected 0 to 1\n"
    assert interpolate.main([str(tmp_path / "none.pth"), *words[1:]]) == 2
    assert capsys.readouterr().err.startswith("interpolate: [Errno 2]")
