"""README.md says what was measured: each of its figures is a value of findings/results, rounded."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from research.common.places import RESULTS, ROOT
from research.report import results

README = (ROOT / "README.md").read_text(encoding="utf-8")

# Digits of the prose that are no measurements, each with what it is.
CONSTANTS = {
    "512": "channels of the operator's output",
    "512-d": "the length of an embedding",
    "0.75": "the default threshold",
    "2.11": "the oldest PyTorch",
}
# Names with digits in them.
NAMES = re.compile(r"\bResNet-18\b|\bfp32\b|\bint8\b|\bApache-2\.0\b")


def sentences(folder: Path) -> list[str]:
    """What README.md has to say of these results."""
    found = results.load(folder)
    n, f2, g3, p0 = (results.FORMATS[form] for form in ("n", "f2", "g3", "p0"))

    def speed(tool: str) -> str:
        return n(results.row(found["bench_end_to_end"]["rows"], size="VGA", tool=tool)["images_per_s"])

    pairs = max(results.where(found["bench_pairs"]["rows"], way="rrn"), key=lambda row: row["rows"])
    ours = results.row(found["evaluation"]["rows"], name="ours")
    copies, groups = (ours[kind]["at_threshold"] for kind in ("copies", "groups"))
    unseen = results.row(found["weights_report"]["rows"], name="in use")["copies"]["at_threshold"]
    written = [
        f"{speed('rrn')} VGA photos a second in fp32 and {speed('rrn, int8')} in int8",
        f"all similar pairs of {n(pairs['rows'])} embeddings in {g3(pairs['median_s'])} s",
        f"a script of OpenCV and ONNX Runtime takes {speed('OpenCV + ONNX Runtime script')} photos a second",
        f"they find {p0(copies['recall'])} at a precision of {f2(copies['precision'])}",
        f"of copies of other photos {p0(unseen['recall'])} at {f2(unseen['precision'])}",
        f"of other views of the same object {p0(groups['recall'])} at {f2(groups['precision'])}",
    ]
    return [sentence.replace("\u00a0", " ") for sentence in written]


def example(folder: Path) -> list[str]:
    """Lines of the example's output."""
    found = results.load(folder)["example"]
    first = found["groups"][0]
    copy = first["members"][0]
    others = {image["path"]: image["dissimilar"] for image in found["images"]}
    single = found["read"] - sum(1 + len(group["members"]) for group in found["groups"])
    return [
        f"model {found['model']['file']}, {found['model']['size']} pixels, cpu fp32",
        f"group 1: {1 + len(first['members'])} images",
        f"- {others[first['representative']]} {first['representative']}",
        f"{copy['similarity']:.4f} {others[copy['path']]} {copy['path']}",
        f"skipped: {len(found['skipped'])} file",
        *(f"{skipped['path']}: {skipped['reason']}" for skipped in found["skipped"]),
        f"files {found['files']}",
        f"read {found['read']}",
        f"skipped {len(found['skipped'])}",
        f"groups {len(found['groups'])} (similarity to the group's first image above {found['threshold']})",
        f"unique {found['unique']} ({len(found['groups'])} groups + {single} images in no group)",
    ]


def squeezed(text: str) -> str:
    return " ".join(text.split())


def untrue(readme: str, folder: Path) -> list[str]:
    """What the results say and README.md does not."""
    prose, lines = squeezed(readme), [squeezed(line) for line in readme.splitlines()]
    return [each for each in sentences(folder) if each not in prose] + [
        each for each in example(folder) if each not in lines
    ]


def unsourced(readme: str, folder: Path) -> list[str]:
    """Numbers of the prose that are in none of these sentences; code is not prose."""
    prose = squeezed(re.sub(r"^```.*?^```$|`[^`\n]*`|<[^>]*>|\]\([^)]*\)", " ", readme, flags=re.M | re.S))
    for sentence in sentences(folder):
        prose = prose.replace(sentence, " ")
    return re.findall(r"(?<![\w.,])\d(?:[\d.,]*\d)?(?:-\w+)?", NAMES.sub(" ", prose))


def changed_numbers(text: str) -> list[str]:
    """The text with one of its numbers changed, for each of them."""
    return [
        f"{text[: digit.start()]}{(int(digit[0]) + 1) % 10}{text[digit.end() :]}"
        for digit in re.finditer(r"\d(?=\D|$)", NAMES.sub(lambda name: "x" * len(name[0]), text))
    ]


def test_figures_are_those_of_the_results() -> None:
    assert untrue(README, RESULTS) == [], "findings/results or README.md has changed; write what is measured now"


def test_no_figure_is_without_a_source() -> None:
    assert set(unsourced(README, RESULTS)) == set(CONSTANTS)


def test_the_machine_is_the_one_of_the_results() -> None:
    for name in ("bench_end_to_end", "bench_pairs"):
        assert results.load(RESULTS)[name]["machine"]["cores"] == 2
    assert "amx_int8" in results.load(RESULTS)["bench_end_to_end"]["machine"]["instructions"]
    assert "two cores with AMX" in README


@pytest.mark.parametrize("sentence", [*sentences(RESULTS), *example(RESULTS)])
def test_a_changed_figure_is_found(sentence: str) -> None:
    where = re.compile(r"\s+".join(map(re.escape, sentence.split())))
    assert where.search(README)
    for planted in changed_numbers(sentence):
        assert sentence in untrue(where.sub(lambda _, text=planted: text, README), RESULTS), planted  # type: ignore[misc]


@pytest.mark.parametrize(
    ("planted", "numbers"),
    [
        ("It finds 99 % of them.", ["99"]),
        ("A second time it takes 0.3 s, for 1,000,000 embeddings.", ["0.3", "1,000,000"]),
        ("It is **12 times** as fast.", ["12"]),
        ("ResNet-18 in fp32 needs PyTorch 2.11, `--batch 8` and [a page](page7.md).", []),
    ],
)
def test_a_planted_figure_is_found(planted: str, numbers: list[str]) -> None:
    found = unsourced(f"{README}\n\n{planted}\n", RESULTS)
    assert [number for number in found if number not in CONSTANTS] == numbers


@pytest.mark.parametrize(
    ("name", "words"),
    [("bench_end_to_end", "photos a second"), ("bench_pairs", "embeddings in"), ("evaluation", "at a precision of")],
)
def test_new_results_make_the_text_untrue(name: str, words: str, tmp_path: Path) -> None:
    folder = shutil.copytree(RESULTS, tmp_path / "results")
    content = json.loads((folder / f"{name}.json").read_text())
    for row in (content.get("result") or content)["rows"]:
        for key in row.keys() & {"images_per_s", "median_s"}:
            row[key] *= 1.1
        for part in row.keys() & {"copies", "groups"}:
            row[part]["at_threshold"]["recall"] *= 0.9
    (folder / f"{name}.json").write_text(json.dumps(content))
    assert any(words in sentence for sentence in untrue(README, folder))
