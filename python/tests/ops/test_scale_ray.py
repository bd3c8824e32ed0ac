"""rrn scale on a real Ray cluster of two nodes on this machine, and what happens when one of its workers is killed."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

pytest.importorskip("pyarrow", reason="the extra 'scale' is not installed")
# Before Ray is imported: no reports of use.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
pytest.importorskip("ray", reason="the extra 'scale' is not installed")

import rrn_native
from ray.cluster_utils import Cluster
from rrn_ops.scale import cells, embedding, engines, pairs, sources, storage
from rrn_ops.scale.storage import ScaleError
from scale_helpers import SMALL, embed, make_pictures, matrix, rows, write_rows
from scale_tasks import Fails, Slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[engines.Options]:
    """Two nodes, each with room for one worker, so that two workers are on two nodes."""
    with pytest.MonkeyPatch.context() as patch:
        # For the workers, which are no children of this process.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "python"), str(Path(__file__).parent)]))
        made = Cluster()
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=100 * 2**20, include_dashboard=False)
        made.wait_for_nodes()
        import ray

        yield engines.Options("ray", 2, made.address)
        ray.shutdown()
        made.shutdown()


def test_a_killed_worker_costs_nothing(cluster: engines.Options, tmp_path: Path) -> None:
    """The process of an actor is killed in the middle of a partition; every picture is there once, bit for bit."""
    folder = make_pictures(tmp_path / "in", 40)
    workers = tmp_path / "workers"
    killed: list[str] = []

    def kill() -> None:
        # The first one sleeps in the middle of its partition.
        while not (names := [name for name in storage.names_in(str(workers)) if not name.startswith(".")]):
            time.sleep(0.02)
        os.kill(int(names[0].partition("-")[0]), signal.SIGKILL)
        killed.append(names[0])

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    files, shards = embedding.gather([str(folder)], [], sources.Columns())
    partitions = embedding.plan(str(tmp_path / "job"), files, shards, 4)
    settings = dataclasses.replace(SMALL, fingerprint=SMALL.embedder().fingerprint)
    work = engines.Work(Slow, (str(tmp_path / "job"), settings, str(workers)))
    answers = list(engines.run(cluster, work, [each.to_json() for each in partitions]))
    thread.join()
    assert len(killed) == 1
    names = [embedding.load_line(each)["name"] for each in answers]
    assert sorted(names) == [each.name for each in partitions], "nothing is lost and nothing twice"
    found = rows(tmp_path / "job")
    paths = [row["path"] for row in found]
    assert paths == sorted(str(path) for path in folder.iterdir())
    assert matrix(found).tobytes() == rrn_native.Embedder(size=64).embed(paths).tobytes()
    # Both nodes took part, and the one whose worker was killed got another.
    seen = [name.split("-") for name in storage.names_in(str(workers))]
    assert len({node for _, node in seen}) == 2
    assert len({process for process, _ in seen}) >= 3
    assert embed(tmp_path / "job", folder, options=cluster).reused == len(partitions)


@pytest.mark.nightly
def test_embed_and_pairs(cluster: engines.Options, tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "in", 40)
    totals = embed(tmp_path / "job", folder, options=cluster)
    assert (totals.images, totals.reused) == (40, 0)
    assert embed(tmp_path / "job", folder, options=cluster).reused == totals.partitions
    embeddings = matrix(rows(tmp_path / "job"))
    found = pairs.find(str(tmp_path / "job"), pairs.Search(0.9, block_rows=16), cluster)
    assert found.pairs == len(rrn_native.similar_pairs(embeddings, 0.9)[0]) > 0


@pytest.mark.nightly
def test_cells(cluster: engines.Options, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    embeddings = np.repeat(random.standard_normal((100, 16)), 3, axis=0) + 0.05 * random.standard_normal((300, 16))
    write_rows(tmp_path, embeddings.astype(np.float32), [60] * 5)
    search = pairs.Search(0.9, block_rows=100)
    found, recall, _ = cells.find(str(tmp_path), search, cells.Cells(5, 5, sample=50), cluster)
    assert found.pairs == len(rrn_native.similar_pairs(embeddings, 0.9)[0])
    assert recall.share == 1


def test_what_a_task_raises_is_said(cluster: engines.Options) -> None:
    with pytest.raises(ScaleError, match=r"^a task failed: the task 7 has failed$"):
        list(engines.run(cluster, engines.Work(Fails, ()), ["7"]))
