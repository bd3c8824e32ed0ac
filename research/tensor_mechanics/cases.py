"""Runs the failing forms of cases.toml and their mended ones, and records what happened.

The code is kept as text, so that what a page shows is what ran.
"""

from __future__ import annotations

import ast
import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from research.tensor_mechanics.camera import project_camera
from research.tensor_mechanics.layers import check_stack
from research.tensor_mechanics.strides import can_view, facts, inferred, shares_memory

Json = dict[str, Any]

QUESTIONS = ("channels", "view", "camera")
_FILE = Path(__file__).with_name("cases.toml")
# Larger results are recorded by their shape only.
_MOST_NUMBERS = 16
_NAMES = (torch, nn, project_camera, check_stack, can_view, inferred, shares_memory)


@dataclasses.dataclass(frozen=True)
class Case:
    """A failing form and its mended one.

    Attributes:
        name: What is wrong, in a few words.
        question: One of `QUESTIONS`.
        wrong: The failing code; its last line is an expression.
        mended: The right code.
        reason: Why the first one fails.
        evidence: Expressions with `wrong` and `right` that have to be true.
        setup: What runs before either.
        raises: Name of the exception's type; "" if nothing is raised and the result is wrong.
        message: A part of what the exception says.
        shows: An expression with `it`, recorded of either result; "" for the result itself.
    """

    name: str
    question: str
    wrong: str
    mended: str
    reason: str
    evidence: tuple[str, ...]
    setup: str
    raises: str = ""
    message: str = ""
    shows: str = ""


def load(path: Path = _FILE) -> list[Case]:
    """Reads the cases.

    Raises:
        OSError: The file cannot be read.
        ValueError: A case has no evidence or its question is unknown.
        TypeError: A case has an unknown key, or lacks one.
    """
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    cases = []
    for each in content["case"]:
        if each.get("question") not in QUESTIONS or not each.get("evidence"):
            raise ValueError(f"{path.name}: expected a question of {QUESTIONS} and evidence in {each.get('name')!r}")
        values: Json = {key: tuple(value) if key == "evidence" else value.strip() for key, value in each.items()}
        cases.append(Case(**values, setup=content["setup"][each["question"]]))
    return cases


def evaluate(code: str, names: dict[str, Any]) -> Any:
    """Runs code and returns the value of its last line.

    Args:
        code: Statements and, at the end, an expression.
        names: What the code may use; gets what it defines.

    Raises:
        ValueError: The last line is no expression.
        Exception: What the code raises.
    """
    tree = ast.parse(code)
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        raise ValueError(f"expected an expression at the end of {code!r}")
    last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
    exec(compile(tree, "case", "exec"), names)
    return eval(compile(last, "case", "eval"), names)


def plain(value: Any) -> Any:
    """Returns a value as JSON holds it: numbers to four decimals, those that are not finite as text."""
    if isinstance(value, torch.Tensor):
        value = value.detach().tolist()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return round(value, 4) + 0.0 if abs(value) < float("inf") else str(value)
    return value


def _names(setup: str) -> dict[str, Any]:
    names = {each.__name__.rpartition(".")[2]: each for each in _NAMES}
    exec(compile(setup, "setup", "exec"), names)
    return names


def _recorded(result: Any, shows: str, names: Mapping[str, Any]) -> Json:
    if shows:
        return {"shows": plain(evaluate(shows, {**names, "it": result}))}
    if result.numel() <= _MOST_NUMBERS:
        return {"shape": list(result.shape), "numbers": plain(result)}
    return {"shape": list(result.shape)}


def run(case: Case) -> Json:
    """Runs a case.

    Returns:
        "name", "question", "wrong", "mended", "reason"; "happened" of the failing form, with "raises" (type and first
        line of the message, or None) and the result's numbers; "right", the mended form's; "as_expected", whether the
        exception was the stated one; "evidence", each with whether it "holds".

    Raises:
        Exception: What the mended form raises.
    """
    names = _names(case.setup)
    happened: Json
    try:
        wrong = evaluate(case.wrong, names)
        happened = {"raises": None, **_recorded(wrong, case.shows, names)}
    except Exception as error:
        wrong = error
        happened = {"raises": {"type": type(error).__name__, "message": str(error).split("\n")[0]}}
    names = _names(case.setup)
    right = evaluate(case.mended, names)
    names |= {"wrong": wrong, "right": right}
    raised = happened["raises"] or {"type": "", "message": ""}
    return {
        **{key: getattr(case, key) for key in ("name", "question", "wrong", "mended", "reason")},
        "happened": happened,
        "as_expected": raised["type"] == case.raises and case.message in raised["message"],
        "right": _recorded(right, case.shows, names),
        "evidence": [{"code": code, "holds": bool(evaluate(code, names))} for code in case.evidence],
    }


def setups(path: Path = _FILE) -> dict[str, str]:
    """Returns the code that the cases of each question begin with."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: code.strip() for name, code in content["setup"].items()}


def steps(path: Path = _FILE) -> list[Json]:
    """Runs the expressions that show how a tensor lies in memory.

    Returns:
        "code", "shape", "stride", "offset", "contiguous", "places" (of each element in the storage, in reading order)
        and "shares", whether the memory is that of x.
    """
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    names = _names(content["setup"]["view"])
    rows = []
    for each in content["step"]:
        tensor = evaluate(each["code"], names)
        rows.append({"code": each["code"], **_lists(facts(tensor)), "shares": shares_memory(tensor, names["x"])})
    return rows


def _lists(value: Any) -> Json:
    return {key: list(each) if isinstance(each, tuple) else each for key, each in dataclasses.asdict(value).items()}
