"""The data behind the figures, what is drawn of them, and the report's command line."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rrn_native
from conftest import make_picture
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib")

from rrn_native.analysis import _drawing, _map_figure, histogram, metrics, plots, projection, report
from rrn_native.cli import explain as cli_explain
from rrn_native.cli import report as cli_report

SIZE = 64
PNG = b"\x89PNG\r\n\x1a\n"


def vectors(seed: int, n: int, dim: int = 16) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0.5, 1, (n, dim)).astype(np.float32)


@given(st.integers(0, 99), st.integers(0, 40), st.floats(-1, 1))
@settings(deadline=None)
def test_histogram_counts_every_pair_once(seed: int, n: int, threshold: float) -> None:
    rows = vectors(seed, n)
    found = histogram.histogram(rows, threshold)
    i, _, _ = rrn_native.similar_pairs(rows, -2.0)
    assert found.counts.sum() == found.counted == found.pairs == len(i) == n * (n - 1) // 2
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(n, 1)]
    assert found.above.sum() == (cosines > threshold).sum()
    assert (found.above <= found.counts).all()
    order = np.random.default_rng(seed).permutation(n)
    shuffled = histogram.histogram(rows[order], threshold)
    # A cosine on a bin's edge may move by rounding, because other blocks are multiplied.
    assert np.abs(np.cumsum(shuffled.counts - found.counts)).max(initial=0) <= 1


def test_histogram_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = vectors(0, 50)
    whole = histogram.histogram(rows)
    monkeypatch.setattr(histogram, "_BLOCK", 7)
    assert histogram.histogram(rows).counts.tolist() == whole.counts.tolist()


def test_histogram_samples_many_pairs() -> None:
    rows = vectors(1, 300)
    whole, sample = histogram.histogram(rows, 0.2), histogram.histogram(rows, 0.2, max_pairs=20_000)
    assert (sample.counted, sample.pairs) == (20_000, 44_850)
    assert (sample.counts <= whole.counts).all(), "no pair is drawn twice"
    # Six standard deviations of a sample of this size.
    assert abs(sample.share_above - whole.share_above) < 6 * np.sqrt(0.25 / 20_000)
    again = histogram.histogram(rows, 0.2, max_pairs=20_000)
    assert again.counts.tolist() == sample.counts.tolist()


def test_sampled_pairs_are_pairs() -> None:
    """Drawing all of them gives each of them, so the numbering is right."""
    unit = metrics.unit_rows(vectors(2, 60).astype(np.float64))
    drawn = np.concatenate(list(histogram._sampled_pairs(unit, 60 * 59 // 2, 60 * 59 // 2)))
    every = np.concatenate(list(histogram._all_pairs(unit)))
    assert np.sort(drawn) == pytest.approx(np.sort(every), abs=1e-12)


def test_histogram_of_similarities_and_of_gaps() -> None:
    found = histogram.histogram([0.9, 0.5, np.nan, 1.0, -1.0], 0.75)
    assert (found.pairs, found.left_out, found.images) == (4, 1, None)
    assert found.above.sum() == 2
    assert found.counts[-1] == found.counts[0] == 1
    rows = vectors(0, 4)
    rows[1] = np.nan
    assert histogram.histogram(rows).pairs == 3
    with pytest.raises(ValueError, match="expected embeddings"):
        histogram.histogram(np.zeros((2, 2, 2)))


def test_similarity_histogram_draws_the_counts() -> None:
    rows = vectors(3, 30)
    bins = histogram.histogram(rows, 0.3)
    axes = plots.similarity_histogram(rows, 0.3).axes[0]
    light, dark = axes.containers
    assert sum(bar.get_height() for bar in light) == bins.counts.sum()  # type: ignore[attr-defined]
    assert sum(bar.get_height() for bar in dark) == bins.above.sum()  # type: ignore[attr-defined]
    assert axes.get_yscale() == "log"
    assert "cosine" in axes.get_xlabel()
    legend = axes.get_legend()
    assert legend is not None
    words = " ".join(text.get_text() for text in legend.get_texts())
    assert f"{bins.above.sum()} pairs" in words
    assert "threshold 0.3" in words
    title = plots.similarity_histogram(rows, 0.3, similar=7, max_pairs=100).axes[0]
    assert "100 of the 435 pairs" in title.get_title()
    assert any("7 pairs, 1.6 % of all" in text.get_text() for text in title.get_legend().get_texts())  # type: ignore[union-attr]
    plots.similarity_histogram(np.zeros((0, 8)))
    plots.similarity_histogram(np.ones((1, 8)))


@given(st.integers(0, 99), st.integers(3, 30))
@settings(deadline=None, max_examples=30)
def test_pca_laws(seed: int, n: int) -> None:
    rows = vectors(seed, n)
    found = projection.project(rows)
    assert found.explained is not None
    first, second = found.explained
    assert 1 + 1e-9 >= first >= second >= 0
    unit = metrics.unit_rows(rows.astype(np.float64))
    variance = ((unit - unit.mean(axis=0)) ** 2).sum()
    assert (found.points**2).sum(axis=0) / variance == pytest.approx([first, second], abs=1e-9)
    order = np.random.default_rng(seed).permutation(n)
    assert projection.project(rows[order]).points == pytest.approx(found.points[order], abs=1e-6)
    scaled = rows * np.linspace(0.5, 3, n, dtype=np.float32)[:, None]
    assert projection.project(scaled).points == pytest.approx(found.points, abs=1e-5), "only directions count"


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_or_equal_images(n: int) -> None:
    for rows in (vectors(0, n), np.ones((n, 8), np.float32), np.zeros((n, 8), np.float32), vectors(0, n, 1)):
        assert np.isfinite(projection.project(rows).points).all()
        plots.embedding_map(rows, [f"{k}.png" for k in range(n)])
    assert (projection.project(np.full((n, 8), 0.3)).points == 0).all()


def test_tsne_keeps_clusters_apart_and_repeats() -> None:
    pytest.importorskip("sklearn")
    centres = np.eye(3, 16, dtype=np.float32)
    rows = np.repeat(centres, 8, axis=0) + 0.02 * vectors(0, 24)
    found = projection.project(rows, "tsne")
    assert (found.method, found.explained, found.note) == ("tsne", None, "")
    assert np.array_equal(projection.project(rows, "tsne").points, found.points)
    distance = np.linalg.norm(found.points[:, None] - found.points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (distance.argmin(axis=1) // 8 == np.arange(24) // 8).all()
    assert projection.project(rows, "auto").method == "tsne"
    assert projection.project(rows[:4], "tsne").note.startswith("t-SNE needs at least 5 images")
    projection.project(np.ones((6, 4)), "tsne")


def test_umap_repeats() -> None:
    pytest.importorskip("umap")
    rows = vectors(0, 24)
    found = projection.project(rows, "umap")
    assert found.method == "umap"
    assert np.array_equal(projection.project(rows, "umap").points, found.points)


@pytest.mark.parametrize(("method", "package"), [("tsne", "scikit-learn"), ("umap", "umap-learn")])
def test_without_the_package_pca_takes_its_place(monkeypatch: pytest.MonkeyPatch, method: Any, package: str) -> None:
    for name in ("sklearn", "sklearn.manifold", "umap"):
        monkeypatch.setitem(sys.modules, name, None)
    rows = vectors(0, 10)
    found = projection.project(rows, method)
    assert found.method == "pca"
    assert np.array_equal(found.points, projection.project(rows, "pca").points)
    with pytest.warns(RuntimeWarning, match=f"needs {package} .*; this is PCA"):
        figure = plots.embedding_map(rows, ["x"] * 10, method, thumbnails=False)
    assert package in figure.axes[0].get_title()
    assert projection.project(rows, "auto").note == ""


@given(st.integers(0, 99), st.integers(1, 60))
@settings(deadline=None)
def test_thinning(seed: int, n: int) -> None:
    points = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    order = np.random.default_rng(seed + 1).permutation(n).tolist()
    chosen = _map_figure.thin_out(points, order, 0.3)
    assert chosen[0] == order[0]
    for k in range(n):
        apart = np.abs(points[chosen] - points[k]).max(axis=1) >= 0.3
        if k in chosen:
            assert apart.sum() == len(chosen) - 1
        else:
            assert not apart.all(), "there was room"


@pytest.fixture
def result(photos: Path) -> rrn_native.SimilarityResult:
    return rrn_native.find_similar(photos, 0.97, size=SIZE)


def test_map_shows_every_image(result: rrn_native.SimilarityResult) -> None:
    paths = [image.path for image in result.images]
    axes = plots.embedding_map(result.embeddings, paths, groups=result.groups).axes[0]
    dots = np.concatenate([np.asarray(collection.get_offsets()) for collection in axes.collections])
    points = projection.project(result.embeddings).points
    assert np.array(sorted(dots.tolist())) == pytest.approx(np.array(sorted(points.tolist())))
    members = sum(len(group.members) for group in result.groups)
    assert len(axes.lines) == members
    assert "×3" in [text.get_text() for text in axes.texts]
    # The three copies lie together and show one thumbnail.
    assert len(axes.images) == len(paths) - members
    assert "variance" in axes.get_xlabel()
    # In another order the same thumbnails are shown.
    order = np.arange(len(paths))[::-1]
    other = plots.embedding_map(result.embeddings[order], [paths[k] for k in order], groups=result.groups).axes[0]
    boxes = [np.array(sorted(image.get_extent() for image in each.images)) for each in (axes, other)]
    assert boxes[0] == pytest.approx(boxes[1])


def test_map_leaves_out_rows_without_values(result: rrn_native.SimilarityResult) -> None:
    rows = np.vstack([np.full((1, 512), np.nan, np.float32), result.embeddings])
    paths = ["unreadable.png", *(image.path for image in result.images)]
    axes = plots.embedding_map(rows, paths).axes[0]
    assert len(axes.collections[0].get_offsets()) == result.read
    assert "left out" in axes.get_title()
    with pytest.raises(ValueError, match="5 paths"):
        plots.embedding_map(rows, paths[1:])


def test_gallery(result: rrn_native.SimilarityResult) -> None:
    axes = plots.group_gallery(result).axes[0]
    words = [text.get_text() for text in axes.texts]
    group = result.groups[0]
    assert len(axes.images) == 1 + len(group.members)
    assert words.count("representative") == len(result.groups) == 1
    shown = [float(word) for word in words if word.startswith("0.")]
    assert shown == pytest.approx([member.similarity for member in group.members], abs=1e-4)
    assert shown == sorted(shown, reverse=True)
    for member in group.members:
        assert Path(member.path).name in words
    assert _drawing.similarity_text(0.99996) == "0.9999", "only equal images have 1.0000"
    assert _drawing.similarity_text(1.0) == "1.0000"
    assert "sub/" in words
    with pytest.raises(ValueError, match="expected 1 to 1"):
        plots.group_gallery(result, 2)


def many_groups(folder: Path) -> rrn_native.SimilarityResult:
    """Five groups; the last has nine images, one of them gone."""
    for thing in range(5):
        make_picture(thing).save(folder / f"{thing}.png")
        for copy in range(8 if thing == 4 else 1):
            make_picture(thing).save(folder / f"{thing}_{copy}.png")
    found = rrn_native.find_similar(folder, 0.99, size=SIZE)
    (folder / "4_0.png").unlink()
    return found


def test_gallery_pages(tmp_path: Path) -> None:
    found = many_groups(tmp_path)
    assert [len(group.members) for group in found.groups] == [1, 1, 1, 1, 8]
    assert plots.gallery_pages(found, 2) == 3
    shown = [text.get_text() for k in (1, 2, 3) for text in plots.group_gallery(found, k, rows=2).axes[0].texts]
    for thing in range(5):
        assert shown.count(f"{thing}.png") == 1
    assert shown.count("representative") == 5
    last = plots.group_gallery(found, 3, rows=2, columns=4).axes[0]
    assert len(last.images) == 2, "one is gone, and the last place counts the rest"
    words = " ".join(text.get_text() for text in last.texts)
    assert "cannot be read" in words
    assert "and 6 more" in words
    assert "page 3 of 3" in words


def test_gallery_without_groups(tmp_path: Path) -> None:
    make_picture(1).save(tmp_path / "a.png")
    found = rrn_native.find_similar(tmp_path, size=SIZE)
    assert "No groups" in plots.group_gallery(found).axes[0].texts[0].get_text()


@pytest.mark.parametrize(
    "name", ["a$b$c.png", "日本.png", "new\nline.png", "\udcff.png", r"\frac.png", "x" * 200 + ".png"]
)
def test_odd_names_are_drawn(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    members = (rrn_native.Member(path, 0.9),)
    make_picture(1).save(tmp_path / "a.png")
    found = rrn_native.find_similar(tmp_path, size=SIZE)
    odd = dataclasses.replace(found, groups=(rrn_native.Group(path, members),))
    plots.save(plots.group_gallery(odd), tmp_path / "gallery.png")
    assert (tmp_path / "gallery.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("suffix", plots.FORMATS)
def test_save_repeats(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
    for path in (first, second):
        plots.save(plots.similarity_histogram(vectors(0, 9)), path)
    assert first.read_bytes() == second.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name}
    with pytest.raises(ValueError, match="expected one of"):
        plots.save(plots.similarity_histogram(vectors(0, 9)), tmp_path / "x.tiff")


def test_users_settings_change_nothing(tmp_path: Path) -> None:
    import matplotlib

    plots.save(plots.similarity_histogram(vectors(0, 9)), tmp_path / "1.png")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 30}):
        plots.save(plots.similarity_histogram(vectors(0, 9)), tmp_path / "2.png")
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_a_notebook_shows_figures_without_pyplot() -> None:
    figure: Any = plots.similarity_histogram(vectors(0, 9))
    assert figure._repr_png_().startswith(PNG)
    code = "import sys; from rrn_native.analysis import plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rows(result: rrn_native.SimilarityResult) -> None:
    rows = result.rows()
    assert [row["path"] for row in rows] == [image.path for image in result.images]
    group = result.groups[0]
    by_path = {row["path"]: row for row in rows}
    assert by_path[group.representative]["similarity"] == 1.0
    for member in group.members:
        row = by_path[member.path]
        assert (row["group"], row["representative"], row["similarity"]) == (1, group.representative, member.similarity)
    alone = [row for row in rows if row["group"] is None]
    assert len(alone) + len(result.groups) == result.unique
    assert {(row["representative"], row["similarity"]) for row in alone} == {(None, None)}


def test_a_notebook_shows_results(result: rrn_native.SimilarityResult, monkeypatch: pytest.MonkeyPatch) -> None:
    page = result._repr_html_()
    group = result.groups[0]
    assert page.count("<img") == 1 + len(group.members)
    assert "data:image/jpeg;base64," in page
    assert f"{result.unique} unique images" in page
    odd = rrn_native.Group("<b>&\udcff.png", (rrn_native.Member("gone.png", 0.8),) * 9)
    page = dataclasses.replace(result, groups=(odd,) * 12)._repr_html_()
    page.encode()
    assert "&lt;b&gt;&amp;?.png" in page
    assert "and 4 more<" in page
    assert "and 2 more groups" in page
    assert "<img" not in page, "files that are gone are named"
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "<img" not in result._repr_html_(), "without Pillow too"


def test_explanation_figures(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from rrn_native.analysis import explain

    pictures = [np.asarray(make_picture(seed, 96, 64)) for seed in (1, 2)]
    reference = rrn_native.Embedder(size=SIZE).embed(pictures)
    explainer = explain.Explainer(size=SIZE)
    for against in (None, reference):
        found = explainer.explain(*pictures, against=against)
        bars = plots.layer_contributions(found).axes[0].containers
        assert [bar.get_height() for bar in bars[0]] == pytest.approx(found.shares.tolist())  # type: ignore[attr-defined]
        assert len(bars) == (1 if against is None else 2)
        figure = plots.explanation_figure(found)
        labels = [axes.get_xlabel() for axes in figure.axes]
        parts = found.first.shares if against is None else [m.sum() for m in found.first.specific_maps()]
        sums = [float(label) for label in labels[1:6]]
        assert sums == pytest.approx([sum(parts), *parts], abs=5.1e-4)
        plots.save(figure, tmp_path / "why.png")
    assert (
        cli_explain.main([*map(str, _saved(pictures, tmp_path)), "--size", "64", "--output", str(tmp_path / "w.svg")])
        == 0
    )
    assert (tmp_path / "w.svg").read_text().lstrip().startswith("<?xml")


def _saved(pictures: list[npt.NDArray[np.uint8]], folder: Path) -> list[Path]:
    from PIL import Image

    paths = [folder / f"{k}.png" for k in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def test_report(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out" / "report"
    (photos / "odd `name` [x](y).txt").write_text("no picture")
    arguments = [str(photos), "--output", str(output), "--size", str(SIZE), "--threshold", "0.97"]
    assert cli_report.main(arguments) == 0
    assert str(output / "index.md") in capsys.readouterr().out
    names = {"histogram.png", "map.png", "gallery-1.png", "similarity.json", "index.md"}
    assert {path.name for path in output.iterdir()} == names
    expected = rrn_native.find_similar(photos, 0.97, size=SIZE).to_dict()
    assert json.loads((output / "similarity.json").read_text()) == expected
    page = (output / "index.md").read_text()
    for name in names - {"index.md"}:
        assert f"({name})" in page
    assert f"| unique images (1 groups + 2 images in no group) | {expected['unique']} |" in page
    assert "broken.png" in page
    assert "``" in page, "a name with backticks stays a name"
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    assert cli_report.main(arguments) == 0
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before, "the same input, the same report"


def test_report_pages(tmp_path: Path) -> None:
    found = many_groups(tmp_path)
    many = dataclasses.replace(found, groups=found.groups[:4] * 5)
    seen: list[str] = []
    written = report.write_report(many, tmp_path / "r", pages=2, progress=seen.append)
    assert [path.name for path in written] == seen
    assert [name for name in seen if "gallery" in name] == ["gallery-1.png", "gallery-2.png"]
    assert "1 more pages of groups are not drawn" in (tmp_path / "r" / "index.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["photos", "--output", "photos/report"], "lies in photos", 2),
        (["none", "--output", "r"], "no such folder", 2),
        (["photos", "--output", "r", "--pages", "0"], "--pages is 0", 2),
        (["photos", "--output", "r", "--threshold", "2"], "threshold", 2),
        (["photos", "--output", "r", "--model", "none.onnx"], "none.onnx", 4),
        (["photos", "--output", "r", "--model", "photos/notes.txt"], "notes.txt", 4),
    ],
)
def test_report_errors_are_one_line(
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
    code: int,
) -> None:
    monkeypatch.chdir(photos.parent)
    assert cli_report.main(arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("rrn report: ")
    assert words in error
    assert error.count("\n") == 1
    assert not Path("r").exists()


def test_a_report_about_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert cli_report.main([str(tmp_path / "empty"), "--output", str(tmp_path / "r"), "--size", "64"]) == 3
    error = capsys.readouterr().err
    assert error.startswith("rrn report: ")
    assert error.endswith("no readable image among 0 files\n")
    assert (tmp_path / "r").is_dir()


@pytest.mark.parametrize("verb", ["report", "explain"])
def test_without_matplotlib_one_line_says_what_to_install(photos: Path, verb: str) -> None:
    pytest.importorskip("onnx")
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from rrn_native.cli import main\n"
        f"sys.exit(main(['{verb}', *sys.argv[1:]]))"
    )
    first = str(photos / "first.png")
    arguments = [str(photos), "--output", "r"] if verb == "report" else [first, first, "--output", "why.png"]
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=photos.parent, capture_output=True, text=True, check=False
    )
    assert run.returncode == 4
    assert "pip install onnx matplotlib pillow (rrn's extra [report])" in run.stderr
    assert run.stderr.count("\n") == 1
