"""The report: every number comes from a JSON file, both documents say the same, same results give the same bytes."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docx
import pypdf
import pytest
from conftest import ROOT

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from research.gpu import check
from research.report import charts, make, paper, results
from research.report.document import Document, Figure, Heading, Table, Writer, blocks_of, plain

RESULTS = ROOT / "findings" / "results"
# Numbers that are no measurements, each with what it stands for.
CONSTANTS = {
    *("0.75", "512", "224", "64", "128", "256"),  # the threshold; sizes of the network (the hashes have 64 bits, too)
    *("18", "1", "2", "3", "4", "8", "16", "32"),  # ResNet-18, counts of things in the prose, bits
    *("5", "6"),  # sections, in headings that are split over lines
    "127",  # the largest byte of the filter
    *("0.99", "99", "40", "60"),  # bounds of sentences about recall
    *("58", "255"),  # levels of a picture for 1 in the network's input
}
# Names with digits in them, citations, cross references, headings, years.
NAMES = re.compile(
    r"\bF1\b|AVX-?512|AVX2|AVX-VNNI|Lite0|float(16|32)|\bfp(16|32)\b|\bbf(loat)?16\b|\bint8\b|avx2|avx512vnni|"
    r"(Figure|Table|Section|Equation) \d+(\.\d+)?|\[\d+(, \d+)*\]|\((1|2)\)|\b(19|20)\d\d\b|ResNet-18|1000 classes|"
    r"val2017|layer\d"
)
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Document, list[str], Path]:
    output = tmp_path_factory.mktemp("report")
    document, missing = make.make(RESULTS, output)
    return document, missing, output


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield key
            yield from leaves(entry)
    elif isinstance(value, list):
        yield len(value)
        for entry in value:
            yield from leaves(entry)
    else:
        yield value


def json_values(derived: Path) -> list[Any]:
    files = [*sorted(path for path in RESULTS.glob("*.json") if path.name != "derived.json"), derived]
    return [value for path in files for value in leaves(json.loads(path.read_text(encoding="utf-8")))]


def forms(value: float) -> set[str]:
    """All ways to write a number that the report knows."""
    return {form(value).removesuffix(" %") for name, form in results.FORMATS.items() if name != "t"} | {str(value)}


def docx_text(path: Path) -> str:
    word = docx.Document(str(path))
    lines = [paragraph.text for paragraph in word.paragraphs]
    lines += [cell.text for table in word.tables for row in table.rows for cell in row.cells]
    return "\n".join(lines)


def pdf_pages(path: Path) -> list[str]:
    return [page.extract_text() for page in pypdf.PdfReader(path).pages]


def numbers_in(text: str) -> set[str]:
    return {found.rstrip(",") for found in NUMBER.findall(NAMES.sub(" ", text))}


def unknown_numbers(text: str, values: list[Any]) -> set[str]:
    allowed = set(CONSTANTS)
    for value in values:
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, int | float) and math.isfinite(value):
            allowed |= forms(value)
        elif isinstance(value, str):
            allowed |= numbers_in(value)
    return numbers_in(text) - allowed


def test_every_number_of_both_documents_is_in_a_json_file(made: tuple[Document, list[str], Path]) -> None:
    _, _, output = made
    values = json_values(output / "derived.json")
    assert not unknown_numbers(docx_text(output / "report.docx"), values)
    for number, page in enumerate(pdf_pages(output / "report.pdf"), 1):
        assert not unknown_numbers(re.sub(rf"(^{number}\n)|(\n{number}$)", "\n", page.strip()), values), number
    # The test can fail.
    assert unknown_numbers("0.123456789 and 31,415,926", values) == {"0.123456789", "31,415,926"}


def test_prose_has_no_digits_of_its_own(made: tuple[Document, list[str], Path]) -> None:
    """Stricter than the scan: a number in the prose is a reference into the JSON, or one of the few constants."""
    document, _, output = made
    names = {text for value in json_values(output / "derived.json") if isinstance(value, str) for text in [value]}
    for text in document.texts():
        for run in text:
            if run.number or run.style == "code" or run.text in names:
                continue
            bare = run.text
            # Names of tools, rows and sizes that stand in the JSON, longest first.
            for name in sorted((name for name in names if len(name) > 2), key=len, reverse=True):
                if any(character.isdigit() for character in name):
                    bare = bare.replace(name, " ")
            bare = re.sub(r"^\d(\.\d)? (?=[A-Z])", "", bare)
            left = numbers_in(bare) - CONSTANTS
            assert not left, (left, run.text)


def test_every_number_is_what_its_reference_says(made: tuple[Document, list[str], Path]) -> None:
    document, _, _ = made
    fresh = results.Results(RESULTS)
    found = [run.number for text in document.texts() for run in text if run.number]
    assert len(found) > 300
    for number in found:
        value = fresh.evaluate(number.source)
        assert number.text == str(value) or number.text.removesuffix(" %") in forms(value), number


def test_numbers_follow_the_results(made: tuple[Document, list[str], Path], tmp_path: Path) -> None:
    """With times that say the opposite the sentences turn."""
    folder = tmp_path / "results"
    shutil.copytree(RESULTS, folder)
    place = folder / "bench_pairs.json"
    content = json.loads(place.read_text())
    for row in content["result"]["rows"]:
        if row["way"] == "rrn":
            row["median_s"] *= 1000
    place.write_text(json.dumps(content))
    document, missing = make.make(folder, tmp_path / "out")
    assert not missing
    assert "times as fast as NumPy" in plain(made[0].abstract)
    assert "slower than NumPy" in plain(document.abstract)


def test_derived_numbers_follow_from_their_formulas(made: tuple[Document, list[str], Path]) -> None:
    committed = json.loads((RESULTS / "derived.json").read_text(encoding="utf-8"))["values"]
    made_now = json.loads((made[2] / "derived.json").read_text(encoding="utf-8"))["values"]
    assert committed == made_now, "findings/results has changed since the report was made; run scripts/report.sh"
    fresh = results.Results(RESULTS)
    assert {expression: fresh.evaluate(expression) for expression in committed} == committed
    ratio = next(expression for expression in committed if re.match("bench_pairs:rows.* / ", expression))
    above, below = ratio.split(" / ")
    assert committed[ratio] == fresh.get(above) / fresh.get(below)


def test_both_documents_have_the_same_content(made: tuple[Document, list[str], Path]) -> None:
    document, _, output = made
    headings = [f"{block.number} {block.text}".strip() for block in blocks_of(document, Heading)]
    word = docx.Document(str(output / "report.docx"))
    assert [p.text for p in word.paragraphs if p.style.name.startswith("Heading")] == headings
    reader = pypdf.PdfReader(output / "report.pdf")

    def flat(entries: Any) -> Iterator[str]:
        for entry in entries:
            if isinstance(entry, list):
                yield from flat(entry)
            else:
                yield str(entry.title)

    assert list(flat(reader.outline)) == headings

    squeezed = re.sub(r"\s+", "", "".join(pdf_pages(output / "report.pdf")))
    captions = [p.text for p in word.paragraphs if p.style.name == "Caption"]
    tables, figures = blocks_of(document, Table), blocks_of(document, Figure)
    assert len(word.tables) == len(tables) >= 8
    assert len(captions) == len(tables) + len(figures)
    assert len(figures) == 11
    for caption in captions:
        assert re.sub(r"\s+", "", caption)[:60] in squeezed, caption
    for table, written in zip(tables, word.tables, strict=True):
        assert [cell.text for cell in written.rows[0].cells] == list(table.header)
        assert [[cell.text for cell in row.cells] for row in written.rows[1:]] == [
            [plain(cell) for cell in row] for row in table.rows
        ]
    # Pictures: figures and the two formulas, in both.
    assert len(word.inline_shapes) == len(figures) + 2
    assert sum(len(page.images) for page in reader.pages) == len(figures) + 2
    # All figures are referred to.
    text = docx_text(output / "report.docx")
    for kind, blocks in (("Figure", figures), ("Table", tables)):
        for block in blocks:
            assert len(re.findall(rf"{kind} {block.number}\b", text)) >= 2, f"{kind} {block.number} is not referred to"
    assert "could not be made" not in text


def test_same_results_same_bytes(made: tuple[Document, list[str], Path], tmp_path: Path) -> None:
    make.make(RESULTS, tmp_path)
    for path in sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()):
        assert (tmp_path / path).read_bytes() == (made[2] / path).read_bytes(), path
    with zipfile.ZipFile(tmp_path / "report.docx") as packed:
        assert {entry.date_time for entry in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert not list(tmp_path.rglob("*.part"))
    for name in ("report.docx", "report.pdf"):
        assert (tmp_path / name).stat().st_size < 1_000_000


def test_complete_results_miss_nothing(made: tuple[Document, list[str], Path]) -> None:
    assert made[1] == []


def said_missing(document: Document) -> str:
    return " ".join(plain(text) for text in document.texts() if "Not measured" in plain(text))


@pytest.mark.parametrize("name", sorted(path.stem for path in RESULTS.glob("*.json") if path.stem != "derived"))
def test_missing_results_are_said(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(self: charts.Charts, key: str, figure: Any) -> Path:
        charts.pyplot.close(figure)
        return RESULTS.parent / "graph_tail.png"

    monkeypatch.setattr(charts.Charts, "_save", drawn)  # saving is what takes long
    folder = tmp_path / "results"
    shutil.copytree(RESULTS, folder)
    (folder / f"{name}.json").unlink()
    found = results.Results(folder)
    document, missing = paper.build(found, charts.Charts(found, tmp_path))
    assert f"there is no {name}.json" in said_missing(document)
    assert missing
    assert all(f"{name}.json" in line for line in missing), missing


def test_without_any_results_there_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    document, _ = make.make(tmp_path / "results", tmp_path / "out")
    assert len(blocks_of(document, Heading)) > 20
    assert len(blocks_of(document, Figure)) == 1  # the architecture needs no measurement
    assert "Not measured" in docx_text(tmp_path / "out" / "report.docx")
    assert "Not measured" in " ".join(pdf_pages(tmp_path / "out" / "report.pdf")).replace("\n", " ")


def test_results_of_a_gpu_are_not_denied(tmp_path: Path) -> None:
    assert paper._gpu(results.Results(tmp_path)).startswith("*No result here comes from a GPU.*")
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / check.file_name("NVIDIA H100 80GB HBM3")).write_text("{}")
    said = paper._gpu(results.Results(tmp_path))
    assert said.startswith("*GPUs.*") and "`gpu/nvidia-h100-80gb-hbm3.json`" in said


def test_half_written_results_cost_only_their_sentences(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(RESULTS, folder)
    (folder / "bench_decode.json").write_text("{")
    (folder / "bench_network.json").write_text('{"quick": false, "absent": "no PyTorch here"}')
    content = json.loads((folder / "bench_growth.json").read_text())
    content["result"]["rows"] = []
    (folder / "bench_growth.json").write_text(json.dumps(content))
    _, missing = make.make(folder, tmp_path / "out")
    text = docx_text(tmp_path / "out" / "report.docx")
    assert "bench_decode.json is not JSON" in text
    assert "no PyTorch here" in text
    assert any("incomplete" in line for line in missing)
    assert "amx" in text  # other sections are whole


def test_paths_and_formats(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps({"result": {"rows": [{"n": "x, y", "v": 0.0041}, {"n": "z", "v": 8.2}], "none": None}, "top": 12345})
    )
    found = results.Results(tmp_path)
    assert found.get("a:rows[n=x, y].v") == 0.0041
    assert found.number("a:top", "n").text == "12,345"
    assert found.number("a:rows[n=z].v / a:rows[n=x, y].v", "g2").text == "2,000"
    assert found.derived == {"a:rows[n=z].v / a:rows[n=x, y].v": 8.2 / 0.0041}
    assert found.number("#a:rows", "n").text == "2"
    assert found.number("a:rows[n=x, y].v", "g2").text == "0.0041"
    assert found.number("a:rows[n=x, y].v", "p1").text == "0.4 %"
    for path in ("a:rows[n=q].v", "a:nothing", "a:none", "b:rows"):
        with pytest.raises(results.NotMeasuredError):
            found.get(path)
    with pytest.raises(ValueError, match="is not a path"):
        found.get("rows")


def test_a_sentence_without_its_number_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"v": 2}')
    writer = Writer(results.Results(tmp_path), {"one": "Somebody."})
    writer.heading(1, "first", "First")
    writer.paragraph("It is {a:v|f1}.", "It was {b:v|f1}.", "See {sec:first} and {cite:one}; {fig:none}.")
    document = writer.document("T", "A")
    text = plain(document.blocks[1].text)  # type: ignore[union-attr]
    assert text.startswith("It is 2.0. See Section 1 and [1]; a figure that could not be made.")
    assert text.endswith("Not measured: there is no b.json.")
