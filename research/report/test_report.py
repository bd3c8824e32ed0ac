"""The report: no digit without a source, both documents say the same, the same results give the same bytes."""

from __future__ import annotations

import html
import json
import platform
import re
import shutil
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pypdf
import pytest

from research.common.places import FINDINGS, RESULTS, ROOT
from research.gpu import check
from research.report import charts, document, make, results

# Numbers of the text that are no measurements: numbers and channels of the stages, bits and the largest byte of the
# filter, K, the length of a row, a size of the architecture's figure, and the per cent of intervals.
CONSTANTS = {"64", "128", "256", "512", "127", "4", "3", "1", "224", "95"}
# Names with digits in them.
NAMES = re.compile(
    r"ResNet-18|EfficientNet-Lite0|\b[Ff]1\b|AVX-512|AVX2|8[- ]bits?|b?float(16|32)|\bfp(16|32)\b|\bbf16\b|\bint8\b|"
    r"statistics_at_224|p50_ms"
)
# Formulas, attributes of figures, and the formats and separators of tables.
MARKUP = re.compile(r"\$\$.*?\$\$|\$.*?\$|width=\d+%| [efgp]\d\b", re.DOTALL)
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
# The result files that the text needs; all others are listed in its last table.
FILES = sorted(path.stem for path in RESULTS.glob("*.json") if re.search(rf"\b{path.stem}\.", make.TEMPLATE))


def written_digits(template: str) -> set[str]:
    """Returns what the template itself holds of digits, apart from its first part, which sets the bounds."""
    first, _, rest = template.partition("\n\n")
    assert "level = 0.05" in first
    environment = jinja2.Environment(**document._SYNTAX)
    found = set()
    for _, kind, text in environment.lex(rest):
        if kind in ("integer", "float"):
            found.add(text)
        elif kind in ("data", "string"):
            found |= set(NUMBER.findall(MARKUP.sub(" ", NAMES.sub(" ", text)))) - CONSTANTS
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str], Path]:
    output = tmp_path_factory.mktemp("report")
    text, missing = make.make(RESULTS, output)
    return text, missing, output


def filled(folder: Path) -> tuple[str, list[str]]:
    return document.markdown(make.TEMPLATE, results.load(folder), lambda name: name, gpu_files=[])


def word_text(path: Path) -> str:
    with zipfile.ZipFile(path) as packed:
        found = re.findall(r"<w:t(?: [^>]*)?>([^<]*)</w:t>", packed.read("word/document.xml").decode())
    return html.unescape("".join(found))


def squeezed(text: str) -> str:
    """The text without white space, hyphens of line ends and typographic variants, so that both documents compare."""
    return re.sub(r"\s|-|\u00ad", "", text.replace("’", "'").replace("−", "-").replace("–", "-").replace("ﬁ", "fi"))


def test_no_digit_without_a_source() -> None:
    assert not written_digits(make.TEMPLATE)


@pytest.mark.parametrize(
    ("planted", "digits"),
    [
        ("It takes 3.5 s.", "3.5"),
        ("It takes {{ 3.5 }} s.", "3.5"),
        ("{% set time = 7 %}It takes {{ time }} s.", "7"),
        ('It takes {{ "26 times" }} the time.', "26"),
        ("{% if level > near %}a{% else %}It takes 1,200 s.{% endif %}", "1,200"),
    ],
)
def test_a_planted_digit_is_found(planted: str, digits: str) -> None:
    assert written_digits(f"{make.TEMPLATE}\n\n{planted}\n") == {digits}


def test_numbers_follow_the_results(made: tuple[str, list[str], Path], tmp_path: Path) -> None:
    """With times that say the opposite the sentences turn, and no number of the old time is left."""
    folder = tmp_path / "results"
    shutil.copytree(RESULTS, folder)
    place = folder / "bench_pairs.json"
    content = json.loads(place.read_text())
    rows = [row for row in content["result"]["rows"] if row["way"] == "rrn"]
    for row in rows:
        row["median_s"] *= 1000
    place.write_text(json.dumps(content))
    text, missing = filled(folder)
    assert not missing
    before, after = (" ".join(each.split("# Introduction")[0].split()) for each in (made[0], text))
    assert "times as fast as NumPy" in before and "slower than NumPy" not in before
    assert "slower than NumPy" in after and "times as fast as NumPy" not in after
    time = results.FORMATS["g3"](max(row["median_s"] for row in rows))
    assert f"exactly in {time} s" in after


def test_both_documents_have_the_same_content(made: tuple[str, list[str], Path]) -> None:
    text, _, output = made
    word = squeezed(word_text(output / "report.docx"))
    reader = pypdf.PdfReader(output / "report.pdf")
    pages = squeezed(
        "".join(re.sub(rf"\n{number}$", "", page.extract_text()) for number, page in enumerate(reader.pages, 1))
    )

    def flat(entries: Any) -> Iterator[str]:
        for entry in entries:
            yield from flat(entry) if isinstance(entry, list) else [str(entry.title)]

    headings = re.findall(r"^#+ (.*?) \{#sec", text, re.MULTILINE)
    assert [re.sub(r"^[\d.]+ ", "", title) for title in flat(reader.outline)] == [*headings, "References"]
    assert len(headings) == 30
    captions = re.findall(r"^: ([^{]*)\{#tbl", text, re.MULTILINE) + re.findall(r"^!\[([^\]]*)\]", text, re.MULTILINE)
    assert len(captions) == 13 + 15
    for line in (*headings, *(caption for caption in captions if "@" not in caption)):
        assert squeezed(line) in word and squeezed(line) in pages, line
    rows = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    for cells in (row.split(" | ") for row in rows if not row.startswith((":-", "--"))):
        line = squeezed(re.sub("[|`]", "", "".join(cells)))
        assert line in word and line in pages, cells
    with zipfile.ZipFile(output / "report.docx") as packed:
        assert sum(name.endswith(".png") for name in packed.namelist()) == 15
        content = packed.read("word/document.xml")
        assert (content.count(b"<w:tbl>"), content.count(b"<m:oMathPara>")) == (13, 2)
    # The figures of the PDF are drawn, not pictures of pixels.
    assert not any(page.images for page in reader.pages)
    for kind, count in (("Figure", 15), ("Table", 12)):
        for number in range(1, count + 1):
            assert len(re.findall(rf"{kind}{number}(?!\d)", word)) >= 2, f"{kind} {number} is not referred to"
    assert "couldnotbemade" not in word + pages
    assert not re.findall(r"@\w+|\{#|\{\{|\(\?\)", word + pages)


def test_same_results_same_bytes(made: tuple[str, list[str], Path], tmp_path: Path) -> None:
    text, _, output = made
    assert len(list((output / "figures").iterdir())) == 2 * 15
    shutil.copytree(output / "figures", tmp_path / "figures")
    for name in ("decode", "transforms"):  # bars with hatches, and lines; drawing takes long
        (tmp_path / "figures" / f"{name}.svg").unlink()
        (tmp_path / "figures" / f"{name}.png").unlink()
        charts.draw(name, results.load(RESULTS), tmp_path / "figures")
    document.write(text, tmp_path)
    for path in (path.relative_to(output) for path in output.rglob("*") if path.is_file()):
        assert (tmp_path / path).read_bytes() == (output / path).read_bytes(), path
    with zipfile.ZipFile(tmp_path / "report.docx") as packed:
        assert {entry.date_time for entry in packed.infolist()} == {(1980, 1, 1, 0, 0, 0), (2020, 1, 1, 0, 0, 0)}
        # Nor does it say in which folder it was made.
        for path in (ROOT, output, tmp_path):
            assert not [name for name in packed.namelist() if str(path).encode() in packed.read(name)], path
    for name in ("report.docx", "report.pdf"):
        assert (tmp_path / name).stat().st_size < 1_000_000


def test_the_repository_holds_the_report_of_the_present_results(made: tuple[str, list[str], Path]) -> None:
    output = made[2]
    committed, now = (word_text(folder / "report.docx") for folder in (FINDINGS, output))
    assert committed == now, "findings/results or the template has changed; run scripts/report.sh"
    names = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    assert {f"figures/{path.name}" for path in (FINDINGS / "figures").iterdir()} <= names
    script = (ROOT / "scripts" / "report.sh").read_text() + (ROOT / "scripts" / "common.sh").read_text()
    pinned = dict(re.findall(r"\b([a-z][a-z0-9-]+)==([\w.]+)", script))
    versions = {name: version(name) for name in ("jinja2", "matplotlib", "pillow", "pypandoc-binary", "typst")}
    if platform.machine() != "x86_64" or any(pinned[name] != found for name, found in versions.items()):
        pytest.skip(f"other releases or processors may write other bytes: {versions}")
    different = [name for name in sorted(names) if (FINDINGS / name).read_bytes() != (output / name).read_bytes()]
    assert not different, "run scripts/report.sh and commit what it writes"


def test_complete_results_miss_nothing(made: tuple[str, list[str], Path]) -> None:
    assert made[1] == []
    assert "Not measured" not in made[0]


@pytest.mark.parametrize("name", FILES)
def test_missing_results_are_said(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(RESULTS, folder)
    (folder / f"{name}.json").unlink()
    text, missing = filled(folder)
    assert missing
    assert set(missing) == {f"there is no {name}.json"}
    assert text.count(f"*Not measured*: there is no {name}.json.") == len(missing)


def test_without_any_results_there_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    text, _ = make.make(tmp_path / "results", tmp_path / "out")
    assert len(re.findall("^#+ ", text, re.MULTILINE)) == 30
    assert text.count("![") == 1  # the architecture needs no measurement
    assert "Not measured" in word_text(tmp_path / "out" / "report.docx")
    pages = " ".join(page.extract_text() for page in pypdf.PdfReader(tmp_path / "out" / "report.pdf").pages)
    assert "Not measured" in " ".join(pages.split())


def test_charts_without_their_numbers_are_refused(tmp_path: Path) -> None:
    for name in charts._DRAWINGS:
        if name != "architecture":
            with pytest.raises(jinja2.UndefinedError, match=r"there is no \w+\.json"):
                charts.draw(name, results.Results(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_results_of_a_gpu_are_not_denied(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path, dirs_exist_ok=True)
    assert not make.measured_on_gpu(tmp_path)
    assert "*No result here comes from a GPU.*" in filled(tmp_path)[0]
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / check.file_name("NVIDIA H100 80GB HBM3")).write_text("{}")
    files = make.measured_on_gpu(tmp_path)
    assert files == ["gpu/nvidia-h100-80gb-hbm3.json"]
    text, _ = document.markdown(make.TEMPLATE, results.load(tmp_path), lambda name: name, gpu_files=files)
    assert "No result here" not in text and "*GPUs.*" in text and f"`{files[0]}`" in text


def test_half_written_results_cost_only_their_parts(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(RESULTS, folder)
    (folder / "bench_decode.json").write_text("{")
    (folder / "bench_network.json").write_text('{"quick": false, "absent": "no PyTorch here"}')
    content = json.loads((folder / "bench_growth.json").read_text())
    content["result"]["rows"] = []
    (folder / "bench_growth.json").write_text(json.dumps(content))
    text, missing = filled(folder)
    assert "bench_decode.json is not JSON" in text
    assert "bench_network.json: no PyTorch here" in text
    assert any("a list of results has no count" in line for line in missing)
    assert "`amx` is" in text  # other sections are whole


def test_quick_results_are_named(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / "bench_pairs.json").read_text())
    (tmp_path / "bench_pairs.json").write_text(json.dumps({**content, "quick": True}))
    assert "The numbers of `bench_pairs` mean nothing" in filled(tmp_path)[0]


def test_rows_and_formats(tmp_path: Path) -> None:
    content = {"result": {"rows": [{"n": "x, y", "v": 0.0041}, {"n": "z", "v": 8.2, "none": None}]}, "top": 12345}
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = results.load(tmp_path)
    rows = found["a"]["rows"]

    def said(template: str) -> str:
        return document.markdown(template, found, str)[0]

    assert results.row(rows, n="x, y")["v"] == 0.0041
    assert said("{{ a.top | n }}") == "12,345"
    assert said('{{ (a.rows | row(n="z")).v / (a.rows | row(n="x, y")).v }}') == str(8.2 / 0.0041)
    assert said("{{ 2000 | g2 }} {{ 0.00414 | g2 }} {{ 123.4 | g2 }} {{ 0 | g3 }}") == "2,000 0.0041 120 0"
    assert said("{{ 0.0041 | p1 }} {{ 0 | e1 }} {{ 3.2e-6 | e1 }}") == "0.4\u00a0% 0 3.2e-06"
    assert said('{{ (a.rows | largest("v") | row).n }}{{ (a.rows | smallest("v") | row).n }}') == "zx, y"
    assert said("{% filter words %}a; b\n{% if false %}c;{% endif %}; d{% endfilter %}") == "a, b and d"
    assert said('{{ a.rows | table("n", "V: v f1", "none f1") }}').splitlines()[-1] == "| z | 8.2 | – |"
    for template, reason in (
        ('{{ (a.rows | row(n="q")).v | n }}', "a.json has no row with n q"),
        ("{{ a.nothing | n }}", "a.json has no nothing"),
        ('{{ (a.rows | row(n="z")).none | n }}', "a result is incomplete: a number is null"),
        ("{{ b.rows.deeper | n }}", "there is no b.json"),
        ("{% if b.rows > a.top %}{% endif %}", "there is no b.json"),
        ("{% for each in b.rows %}{% endfor %}", "there is no b.json"),
        ("{{ a.top / b.rows }}", "there is no b.json"),
    ):
        assert document.markdown(template, found, str) == (f"*Not measured*: {reason}.", [reason]), template


def test_a_part_without_its_number_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"v": 2}')
    template = (
        "{% set v = a.v %}\n\n- It is {{ v | f1 }}.\n<!-- -->\n  It was {{ b.v | f1 }}.\n<!-- -->\n  It is.\n\nEnd."
    )
    text, missing = document.markdown(template, results.load(tmp_path), str)
    assert text.strip() == "- It is 2.0.\n  *Not measured*: there is no b.json.\n  It is.\n\nEnd."
    assert missing == ["there is no b.json"]


def test_numbers_of_figures_tables_and_sections() -> None:
    text = "# A {#sec:a}\n## B {#sec:b}\n# C {#sec:c}\n## D {#sec:d}\n\n![one\ntwo](f/x){#fig:x width=9%}\n\n"
    text += "| a |\n|--|\n: words\nmore {#tbl:t}\n\n$$ x $$ {#eq:e}\n\n@sec:d @sec:b @fig:x @tbl:t @eq:e @fig:none"
    found = document.numbered(text, typeset=True)
    assert "![**Figure 1.** one\ntwo](f/x){#fig:x width=9%}" in found
    assert ": **Table 1.** words\nmore {#tbl:t}" in found
    assert "[Section\u00a02.1](#sec:d) [Section\u00a01.1](#sec:b)" in found
    assert "[Figure\u00a01](#fig:x) [Table\u00a01](#tbl:t) Equation\u00a01 a figure that could not be made" in found
    assert "$$ x $$\n" in found
    assert r"$$ x \qquad (1)$$" in document.numbered(text, typeset=False)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        make.main(["--results", str(tmp_path / "none")])
    assert stopped.value.code == 2
    with pytest.raises(SystemExit) as stopped:
        make.main(["--results", str(tmp_path), "--measure-examples", "--program", str(tmp_path / "none")])
    assert stopped.value.code == 2
    assert "run scripts/run.sh first" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_last_run_of_all_tests_is_no_result(tmp_path: Path) -> None:
    (tmp_path / results.NIGHTLY).write_text('{"ok": true}')
    (tmp_path / "other.json").write_text('{"ok": true}')
    assert set(results.load(tmp_path)) == {"other"}
