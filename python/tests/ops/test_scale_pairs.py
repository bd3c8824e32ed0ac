"""rrn scale pairs and groups: all pairs by blocks, cells with the recall that they have, a second look, and groups."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("pyarrow", reason="the extra 'scale' is not installed")
pytest.importorskip("fsspec", reason="the extra 'scale' is not installed")

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import rrn_native
from rrn_ops.scale import cells, command, embedding, groups, pairs, storage
from rrn_ops.scale.storage import ScaleError
from scale_helpers import HERE, embed, make_pictures, write_rows

SIZES = [40, 0, 33, 27, 50, 50]
Embeddings = npt.NDArray[np.float32]


def clusters(count: int, each: int, dim: int = 16, seed: int = 0) -> Embeddings:
    random = np.random.default_rng(seed)
    centres = np.repeat(random.standard_normal((count, dim)), each, axis=0)
    return random.permutation(centres + 0.2 * random.standard_normal(centres.shape)).astype(np.float32)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    write_rows(tmp_path, clusters(50, 4), SIZES)
    return tmp_path


def all_pairs(job: Path, stage: str = pairs.STAGE) -> dict[tuple[int, int], float]:
    """The pairs of a stage; fails where one comes twice or is the wrong way round."""
    _, held = pairs.described(str(job))
    found: dict[tuple[int, int], float] = {}
    for manifest in pairs.stage_manifests(str(job), stage):
        part = pairs.read(str(job), stage, manifest, held)
        for first, second, similarity in zip(*(each.tolist() for each in dataclasses.astuple(part)), strict=True):
            assert first < second
            assert (first, second) not in found
            found[first, second] = similarity
    return found


def exact(embeddings: Embeddings, threshold: float) -> dict[tuple[int, int], float]:
    first, second, similarity = (each.tolist() for each in rrn_native.similar_pairs(embeddings, threshold))
    return {(i, j): value for i, j, value in zip(first, second, similarity, strict=True)}


@pytest.mark.parametrize("block_rows", [1, 45, 80, 1000])
def test_pairs_by_blocks_are_all_pairs(job: Path, block_rows: int) -> None:
    found = pairs.find(str(job), pairs.Search(0.8, block_rows), HERE)
    wanted = exact(clusters(50, 4), 0.8)
    assert all_pairs(job) == wanted
    assert (found.rows, found.pairs, found.reused) == (200, len(wanted), 0)
    assert len(wanted) > 100


def test_two_sides_are_searched_as_one() -> None:
    rows = clusters(30, 4)
    left, right = rows[:50], rows[50:]
    found = rrn_native.similar_pairs(left, 0.8, columns=right)
    first, second, similarity = rrn_native.similar_pairs(rows, 0.8)
    across = (first < 50) & (second >= 50)
    for ours, theirs in zip(found, (first[across], second[across] - 50, similarity[across]), strict=True):
        assert np.array_equal(ours, theirs)
    with pytest.raises(ValueError):
        rrn_native.similar_pairs(left, columns=right[:, :8])


def test_only_tasks_of_changed_blocks_run_again(job: Path) -> None:
    search = pairs.Search(0.8, 45)
    first = pairs.find(str(job), search, HERE)
    assert pairs.find(str(job), search, HERE).reused == first.tasks == 15
    embeddings = clusters(50, 4)
    embeddings[105] = embeddings[3]
    write_rows(job, embeddings, SIZES)
    with pytest.raises(ScaleError, match="the embeddings have changed since"):
        pairs.described(str(job))
    # One of five blocks: it takes part in five tasks.
    assert pairs.find(str(job), search, HERE).reused == 10
    assert all_pairs(job) == exact(embeddings, 0.8)
    assert pairs.find(str(job), dataclasses.replace(search, threshold=0.9), HERE).reused == 0
    assert pairs.find(str(job), dataclasses.replace(search, threshold=0.9, resume=False), HERE).reused == 0


def test_an_interrupted_search_is_not_complete(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = pairs.Search(0.8, 45)
    pairs.find(str(job), search, HERE)

    def fail(*_: object) -> None:
        raise ScaleError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(pairs.PairTask, "__call__", fail)
        with pytest.raises(ScaleError, match="stopped"):
            pairs.find(str(job), dataclasses.replace(search, threshold=0.7), HERE)
    with pytest.raises(ScaleError, match="no complete search"):
        pairs.described(str(job))


# ---- Cells ---------------------------------------------------------------------------------------------------------


def border_case(planes: int) -> tuple[Embeddings, Embeddings]:
    """Rows of which half of the pairs lie across a border of two cells; and the directions of the cells.

    In each plane two rows at 0 and 1 degrees are a pair within the first cell, two rows at 44 and 46 degrees a pair
    across the border.
    """
    rows = np.zeros((planes, 4, 2 * planes), np.float32)
    for plane in range(planes):
        for place, degrees in enumerate((0, 1, 44, 46)):
            rows[plane, place, 2 * plane : 2 * plane + 2] = [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]
    return rows.reshape(-1, 2 * planes), np.eye(2 * planes, dtype=np.float32)


@pytest.mark.parametrize(
    ("probes", "sample", "share"), [(1, 1000, 0.5), (2, 1000, 1.0), (1, 20, None)], ids=["one", "two", "sampled"]
)
def test_the_recall_is_what_is_lost_at_borders(
    probes: int, sample: int, share: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = 12
    embeddings, centres = border_case(planes)
    write_rows(tmp_path, embeddings, [16, 16, 16])
    monkeypatch.setattr(cells, "train", lambda *_: (centres, "key"))
    how = cells.Cells(len(centres), probes, sample=sample)
    _, recall, sizes = cells.find(str(tmp_path), pairs.Search(0.95, 20), how, HERE)
    wanted = exact(embeddings, 0.95)
    assert len(wanted) == 2 * planes
    lost = set(wanted) - set(all_pairs(tmp_path))
    assert lost == ({(4 * plane + 2, 4 * plane + 3) for plane in range(planes)} if probes == 1 else set())
    assert sum(sizes) == probes * len(embeddings)
    if share is not None:
        assert (recall.rows, recall.pairs, recall.share) == (48, 24, share)
        assert recall.low is not None and recall.high is not None
        assert recall.low <= share <= recall.high
        return
    # Of the sampled rows, counted by hand; a pair of two sampled rows counts once.
    rows = np.sort(np.random.default_rng([0, 1]).choice(48, 20, replace=False)).tolist()
    seen = [pair for pair in wanted if set(pair) & set(rows)]
    assert (recall.rows, recall.pairs) == (20, len(seen))
    assert recall.found == len([pair for pair in seen if pair not in lost])
    assert 0 < recall.found < recall.pairs


@pytest.mark.parametrize("block_rows", [30, 1000])
@pytest.mark.parametrize("probes", [1, 2, 3, 6])
def test_pairs_of_cells_are_those_that_share_one(job: Path, probes: int, block_rows: int) -> None:
    """No pair comes twice, and none is missing where one row's home is among the other's cells."""
    embeddings = clusters(50, 4)
    how = cells.Cells(6, probes)
    found, recall, _ = cells.find(str(job), pairs.Search(0.8, block_rows), how, HERE)
    held = pairs.blocks(embedding.manifests(str(job)), block_rows)
    near = cells.homes(embeddings, cells.train(str(job), held, how)[0], probes)
    meet = {
        (i, j): similarity
        for (i, j), similarity in exact(embeddings, 0.8).items()
        if near[i, 0] in near[j] or near[j, 0] in near[i]
    }
    assert all_pairs(job) == meet
    assert found.pairs == len(meet)
    assert recall.share == pytest.approx(len(meet) / len(exact(embeddings, 0.8)))
    again, _, _ = cells.find(str(job), pairs.Search(0.8, block_rows), how, HERE)
    assert again.reused == again.tasks


def test_cells_are_the_same_for_the_same_job_and_cover_what_there_is() -> None:
    rows = clusters(8, 100, seed=3)
    rows[5] = 0
    rows[6] = np.nan
    first, second = cells.k_means(rows, 8, 1), cells.k_means(rows, 8, 1)
    assert first.tobytes() == second.tobytes()
    assert np.linalg.norm(first, axis=1) == pytest.approx(np.ones(8), abs=1e-6)
    near = cells.homes(rows, first, 2)
    assert np.bincount(near[near[:, 0] >= 0, 0], minlength=8).min() > 0
    with pytest.raises(ValueError, match="expected at least as many rows"):
        cells.k_means(rows[:4], 8, 1)


@pytest.mark.parametrize(
    ("found", "total", "low", "high"), [(5, 10, 0.2366, 0.7634), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)]
)
def test_wilson(found: int, total: int, low: float, high: float) -> None:
    """Against values that were computed by hand."""
    assert cells.wilson(found, total) == pytest.approx((low, high), abs=1e-4)


# ---- A second look and groups ----------------------------------------------------------------------------------------


def only_high(table: pa.Table) -> pa.Table:
    assert table.column_names == ["first", "second", "similarity", "first_path", "second_path"]
    for row, path in zip(table["first"].to_pylist(), table["first_path"].to_pylist(), strict=True):
        assert path == f"{row:06d}"
    return table.filter(pc.greater(table["similarity"], 0.93))


def invents(table: pa.Table) -> pa.Table:
    return table.set_column(0, "first", pa.array([0] * len(table), pa.int64()))


def no_table(table: pa.Table) -> list[int]:
    return [1]


def test_a_plug_in_looks_at_all_pairs(job: Path) -> None:
    pairs.find(str(job), pairs.Search(0.8, 80), HERE)
    name = f"{__name__}:only_high"
    done = groups.verify(str(job), name, HERE)
    wanted = {pair: value for pair, value in exact(clusters(50, 4), 0.8).items() if value > 0.93}
    assert all_pairs(job, groups.VERIFIED) == wanted
    assert (done.candidates, done.pairs, done.reused) == (len(all_pairs(job)), len(wanted), 0)
    assert 0 < done.pairs < done.candidates
    assert groups.verify(str(job), name, HERE).reused == done.tasks
    for bad, message in (("invents", "which is no candidate"), ("no_table", "expected a pyarrow.Table")):
        with pytest.raises(ScaleError, match=message):
            groups.verify(str(job), f"{__name__}:{bad}", HERE)
    for bad, message in (
        ("nothing", "expected module:function"),
        ("no_module_x:f", "No module"),
        ("json:x", "no attr"),
    ):
        with pytest.raises(ScaleError, match=message):
            groups.load_plug_in(bad)


@pytest.mark.parametrize("per_partition", [3, 100])
def test_groups_are_those_of_the_engine(per_partition: int, tmp_path: Path) -> None:
    """Of files in partitions, so that the rows have another order than the paths."""
    folder = make_pictures(tmp_path / "in", 36)
    embed(tmp_path / "job", folder, per_partition=per_partition)
    threshold = 0.97
    found = pairs.find(str(tmp_path / "job"), pairs.Search(threshold, block_rows=10), HERE)
    grouped = groups.group(str(tmp_path / "job"))
    result = rrn_native.Embedder(size=64).find_similar(folder, threshold)
    assert (grouped.groups, grouped.unique, grouped.images) == (len(result.groups), result.unique, 36)
    assert grouped.groups > 5
    assert grouped.pairs == found.pairs
    ours: dict[int, list[tuple[str, float]]] = {}
    for row in pq.read_table(grouped.file).to_pylist():
        assert row["representative"] == (row["group"] not in ours)
        ours.setdefault(row["group"], []).append((row["path"], round(row["similarity"], 6)))
    theirs = [
        [(group.representative, 1.0), *((member.path, pytest.approx(member.similarity)) for member in group.members)]
        for group in result.groups
    ]
    assert list(ours.values()) == theirs


def test_groups_of_verified_pairs(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs.find(str(job), pairs.Search(0.8, 80), HERE)
    whole = groups.group(str(job))
    with pytest.raises(ScaleError, match="not all pairs were verified"):
        groups.group(str(job), verified=True)
    groups.verify(str(job), f"{__name__}:only_high", HERE)
    fewer = groups.group(str(job), verified=True)
    assert 0 < fewer.pairs < whole.pairs
    assert fewer.unique > whole.unique
    assert command.main(["groups", str(job), "--verified", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == dataclasses.asdict(fewer)
    pairs.find(str(job), pairs.Search(0.7, 80), HERE)
    with pytest.raises(ScaleError, match="not all pairs were verified"):
        groups.group(str(job), verified=True)


def test_without_pairs_there_are_no_groups(tmp_path: Path) -> None:
    write_rows(tmp_path, np.eye(5, dtype=np.float32), [3, 2])
    pairs.find(str(tmp_path), pairs.Search(0.5), HERE)
    grouped = groups.group(str(tmp_path))
    assert (grouped.images, grouped.pairs, grouped.groups, grouped.unique) == (5, 0, 0, 5)


def test_the_command_line_of_pairs(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pairs", str(job), "--engine", "processes", "--workers", "0", "--threshold", "0.8", "--json", "-"]
    assert command.main(words) == 0
    exactly = json.loads(capsys.readouterr().out)
    assert exactly["pairs"] == len(exact(clusters(50, 4), 0.8))
    assert command.main([*words, "--cells", "4", "--probes", "2"]) == 0
    most = json.loads(capsys.readouterr().out)
    assert most["pairs"] <= exactly["pairs"]
    assert most["recall"]["found"] == most["pairs"], "200 of 200 images are in the sample"
    assert most["recall"]["pairs"] == exactly["pairs"]
    assert command.main([*words, "--cells", "2", "--probes", "3"]) == 2
    assert "3 probes of 2 cells, expected 1 to 2" in capsys.readouterr().err
    kept = storage.read_json(str(job / "search.json"))
    assert kept is not None and kept["method"] == "cells", "wrong usage leaves the search before it"
