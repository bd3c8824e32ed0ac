"""The message of a frame: encoder, decoder and the JSON Schema of the file say the same."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("msgspec", reason="msgspec is missing: scripts/build.sh --tests")
pytest.importorskip("jsonschema", reason="jsonschema is missing: scripts/build.sh --tests")

import jsonschema
import msgspec
from repository import ROOT
from rrn_ops.streaming import message
from rrn_ops.streaming.clock import clock_name
from rrn_ops.streaming.message import Counters, FrameMessage, Latency, Model, Person, Picture

SCHEMA_FILE = ROOT / "python" / "rrn_ops" / "streaming" / "schema" / "frame.1.schema.json"


def example(**changes: Any) -> FrameMessage:
    fields: dict[str, Any] = {
        "camera": "front",
        "schema": message.SCHEMA,
        "session": "0123456789abcdef",
        "frame": 7,
        "sequence": 5,
        "captured_at": 1.7e9,
        "captured_ns": 10,
        "sent_ns": 20,
        "clock": clock_name(),
        "width": 427,
        "height": 240,
        "model": Model("fast", "cpu", "fp32"),
        "source": "detected",
        "people": [Person(1, (1.0, 2.0, 30.5, 40.0), 0.9), Person(2, (-3.0, 0.0, 5.0, 6.0), 0.25)],
        "main": 1,
        "main_since": 2.5,
        "latency": Latency(1, 2, 3, 4, 5, 6, 7),
        "counters": Counters(10, 1, 2, 0, 7, 5, 1, 1),
        "picture": Picture(100, "ab" * 32),
    }
    return FrameMessage(**fields | changes)


def plain(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message.encode(example()))
    return found | changes


def validator() -> Any:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def decoder_takes(found: object) -> bool:
    """By the fields alone: what two fields say of each other is beyond a JSON Schema."""
    try:
        message.decode(json.dumps(found).encode())
    except ValueError as error:
        return "is not among the people" in str(error) or "are null together" in str(error)
    return True


def test_the_file_is_what_the_definition_says() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == json.dumps(message.json_schema(), indent=2) + "\n"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"people": [], "main": None, "main_since": None},
        {"source": "tracked", "picture": None},
        {"people": [Person(2**53, (-1e6, 0.0, 1e6, 1e6), 1.0)], "main": 2**53, "main_since": 0.0},
        {"camera": "A_b-9" * 12, "width": 65535, "height": 1},
    ],
)
def test_what_is_encoded_is_valid_and_comes_back(changes: dict[str, Any]) -> None:
    made = example(**changes)
    text = message.encode(made)
    validator().validate(json.loads(text))
    assert message.decode(text) == made


def test_fields_that_are_not_known_are_left_alone() -> None:
    found = plain(zoom=3)
    validator().validate(found)
    assert message.decode(json.dumps(found).encode()) == example()


HOSTILE: list[tuple[str, Any]] = [
    ("schema", "rrn.frame/2"),
    ("camera", "<img src=x onerror=alert(1)>"),
    ("camera", "a/b"),
    ("camera", "#"),
    ("camera", ""),
    ("camera", "a" * 65),
    ("session", "0123456789ABCDEF"),
    ("session", "../../etc/passwd"),
    ("frame", 0),
    ("frame", -1),
    ("frame", 2**53 + 1),
    ("frame", "7"),
    ("frame", 1.5),
    ("sequence", None),
    ("sequence", True),
    ("captured_at", -1),
    ("captured_ns", 2**63),
    ("clock", ""),
    ("clock", "x" * 65),
    ("width", 0),
    ("width", 65536),
    ("height", [240]),
    ("model", {"name": "x" * 201, "provider": "", "precision": ""}),
    ("model", "fast"),
    ("source", "guessed"),
    ("people", {}),
    ("people", None),
    ("people", [{"id": 1, "box": [1, 2, 3], "score": 0.5}]),
    ("people", [{"id": 1, "box": [1, 2, 3, 4, 5], "score": 0.5}]),
    ("people", [{"id": 1, "box": [1, 2, 3, 1e9], "score": 0.5}]),
    ("people", [{"id": 1, "box": [1, 2, 3, "4"], "score": 0.5}]),
    ("people", [{"id": 1, "box": [1, 2, 3, 4], "score": 1.5}]),
    ("people", [{"id": -1, "box": [1, 2, 3, 4], "score": 0.5}]),
    ("people", [{"id": 1, "box": [1, 2, 3, 4]}]),
    ("people", [{"id": k, "box": [1, 2, 3, 4], "score": 0.5} for k in range(message.MAX_PEOPLE + 1)]),
    ("main", "1"),
    ("main_since", -0.1),
    ("latency", {}),
    ("counters", {"captured": -1}),
    ("picture", {"bytes": 0, "sha256": "ab" * 32}),
    ("picture", {"bytes": message.MAX_PICTURE_BYTES + 1, "sha256": "ab" * 32}),
    ("picture", {"bytes": 5, "sha256": "AB" * 32}),
    ("picture", "data:image/jpeg;base64,AAAA"),
]


@pytest.mark.parametrize(("name", "value"), HOSTILE)
def test_schema_and_decoder_refuse_the_same(name: str, value: Any) -> None:
    found = plain(**{name: value})
    assert not validator().is_valid(found)
    with pytest.raises(ValueError):
        message.decode(json.dumps(found).encode())


@pytest.mark.parametrize("name", sorted(msgspec.structs.asdict(example())))
def test_every_field_is_needed(name: str) -> None:
    found = plain()
    del found[name]
    assert not validator().is_valid(found)
    with pytest.raises(ValueError):
        message.decode(json.dumps(found).encode())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[" * 100_000,
        b'{"x":' * 20_000,
        b"[]" + b" " * message.MAX_MESSAGE_BYTES,
        b'{"frame": NaN}',
        b'{"captured_at": 1e999}',
    ],
)
def test_what_is_no_message_is_refused_in_one_line(payload: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        message.decode(payload)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"main": 3}, "`$.main`"),
        ({"main": None}, "`$.main_since`"),
        ({"main_since": None}, "`$.main_since`"),
        ({"people": []}, "`$.main`"),
    ],
)
def test_fields_that_contradict_each_other(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ValueError) as caught:
        message.decode(json.dumps(plain(**changes)).encode())
    assert str(caught.value).endswith(f"at {where}")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def places(found: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    return [each for key, value in items for each in [(*path, key), *places(value, (*path, key))]]


@given(place=st.sampled_from(places(plain())), value=VALUES)
def test_any_value_anywhere(place: tuple[Any, ...], value: Any) -> None:
    # 7.0 is an integer by JSON Schema, and no int by the decoder.
    assume(not (isinstance(value, float) and math.isfinite(value) and value.is_integer()))
    found = copy.deepcopy(plain())
    at = found
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    assert decoder_takes(found) == validator().is_valid(found)


@given(st.binary(max_size=200))
def test_any_bytes(payload: bytes) -> None:
    with pytest.raises(ValueError):
        message.decode(payload)
