"""rrn scale embed: the binary's embeddings bit for bit, every source, errors as rows, and what is not done again."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, RunSimilarity, make_picture, read_json

pytest.importorskip("pyarrow", reason="the extra 'scale' is not installed")
pytest.importorskip("fsspec", reason="the extra 'scale' is not installed")

import pyarrow as pa
import pyarrow.parquet as pq
import rrn_native
from rrn_ops.scale import command, embedding, engines, sources, storage
from rrn_ops.scale.storage import ScaleError
from rrn_ops.scale.worker import OK, SKIPPED, Settings, Worker
from scale_helpers import HERE, SMALL, embed, make_hostile, make_pictures, matrix, rows


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"), 40)


def check_equal(job: object, folder: Path, run_similarity: RunSimilarity, tmp_path: Path) -> None:
    """The job's rows are those of the binary: same images, same bits, same skipped files and reasons."""
    saved = tmp_path / "program.npy"
    found = read_json(run_similarity(folder, "--size", 64, "--json", "-", "--embeddings", saved))
    ours = rows(job)
    there = {image["path"]: row for image, row in zip(found["images"], np.load(saved), strict=True)}
    assert {row["path"] for row in ours if row["state"] == OK} == there.keys()
    good = [row for row in ours if row["state"] == OK]
    assert matrix(good).tobytes() == np.array([there[row["path"]] for row in good]).tobytes()
    reasons = {each["path"]: each["reason"] for each in found["skipped"]}
    assert {row["path"]: row["reason"] for row in ours if row["state"] == SKIPPED} == reasons


@pytest.mark.parametrize("engine", ["here", "processes", "daft"])
def test_embeddings_are_those_of_the_program(
    engine: str, pictures: Path, run_similarity: RunSimilarity, tmp_path: Path
) -> None:
    if engine == "daft":
        pytest.importorskip("daft")
    options = HERE if engine == "here" else engines.Options(engine, 2)  # type: ignore[arg-type]
    totals = embed(tmp_path / "job", pictures, options=options)
    assert (totals.partitions, totals.images, totals.skipped) == (5, 40, 0)
    check_equal(tmp_path / "job", pictures, run_similarity, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ["processes", "daft", "ray"])
def test_two_thousand_embeddings_are_those_of_the_program(
    engine: str, run_similarity: RunSimilarity, tmp_path: Path
) -> None:
    pytest.importorskip(engine if engine != "processes" else "pyarrow")
    folder = make_pictures(tmp_path / "pictures", 2000)
    totals = embed(tmp_path / "job", folder, options=engines.Options(engine, 2), per_partition=64)  # type: ignore[arg-type]
    assert (totals.images, totals.skipped) == (2000, 0)
    check_equal(tmp_path / "job", folder, run_similarity, tmp_path)


def test_rows_say_what_the_files_are(tmp_path: Path) -> None:
    picture = tmp_path / "in" / "one.jpg"
    picture.parent.mkdir()
    make_picture(3, 1600, 1200).save(picture)
    embed(tmp_path / "job", tmp_path / "in", settings=dataclasses.replace(SMALL, dtype="float16"))
    (row,) = rows(tmp_path / "job")
    content = picture.read_bytes()
    assert (row["path"], row["width"], row["height"], row["bytes"]) == (str(picture), 1600, 1200, len(content))
    assert row["sha256"] == rrn_native.files.sha256_of_bytes(content)
    whole = rrn_native.Embedder(size=64).embed([picture])
    assert np.array_equal(np.array(row["embedding"], np.float16), whole[0].astype(np.float16))


def test_files_that_are_no_pictures_are_rows(pictures: Path, run_similarity: RunSimilarity, tmp_path: Path) -> None:
    folder = make_hostile(tmp_path / "in")
    make_picture(5).save(folder / "good.png")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'missing.jpg'}\n")
    totals = embed(tmp_path / "job", folder, lists=[str(tmp_path / "list.txt")])
    assert (totals.images, totals.skipped) == (1, 6)
    found = {Path(row["path"]).name: row for row in rows(tmp_path / "job")}
    assert found["missing.jpg"]["reason"] == "No such file or directory"
    assert found["\\xff\\xfe.png"]["reason"] == "the name is not UTF-8"
    assert all(np.isnan(row["embedding"]).all() == (name != "good.png") for name, row in found.items())
    skipped = read_json(run_similarity(folder, "--size", 64, "--json", "-"))["skipped"]
    for each in skipped:
        assert found[Path(each["path"]).name]["reason"] == each["reason"]


def test_pipes_and_large_files_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    make_picture(1).save(tmp_path / "large.png")
    worker = Worker(dataclasses.replace(SMALL, max_bytes=10))
    block = {"path": [str(tmp_path / "pipe"), str(tmp_path / "large.png"), "/dev/zero"]}
    reasons = worker(block).column("reason").to_pylist()
    size = (tmp_path / "large.png").stat().st_size
    assert reasons == ["not a regular file", f"{size} bytes, expected at most 10", "not a regular file"]


def test_the_worker_takes_arrays_and_contents(pictures: Path) -> None:
    names = sorted(str(path) for path in pictures.iterdir())[:10]
    worker = Worker(SMALL)
    by_path = worker({"path": np.array(names)})
    by_content = worker({"path": np.array(names), "bytes": [Path(name).read_bytes() for name in names]})
    assert by_path.equals(by_content)
    assert len(worker({"path": np.array([], str)})) == 0


def test_a_worker_of_another_model_is_refused(pictures: Path) -> None:
    worker = Worker(dataclasses.replace(SMALL, fingerprint="0" * 32))
    with pytest.raises(ScaleError, match="this worker's model has the fingerprint"):
        worker({"path": [str(next(pictures.iterdir()))]})


# ---- Sources -------------------------------------------------------------------------------------------------------


def make_tar(place: Path, pictures: Path) -> list[Path]:
    chosen = sorted(pictures.iterdir())[:12]
    with tarfile.open(place, "w") as archive:
        for path in chosen:
            archive.add(path, f"a/{path.name}")
            label = tarfile.TarInfo(f"a/{path.stem}.cls")
            label.size = 1
            archive.addfile(label, io.BytesIO(b"7"))
    return chosen


def test_webdataset_tars(pictures: Path, tmp_path: Path) -> None:
    chosen = make_tar(tmp_path / "000.tar", pictures)
    whole = (tmp_path / "000.tar").read_bytes()
    (tmp_path / "001.tar").write_bytes(whole[: len(whole) // 2])
    totals = embed(tmp_path / "job", tmp_path / "*.tar")
    assert totals.partitions == 2
    found = rows(tmp_path / "job")
    first = [row for row in found if row["path"].endswith("000.tar")]
    expected = rrn_native.Embedder(size=64).embed(chosen)
    assert [row["path"] for row in first] == [f"tar://a/{path.name}::{tmp_path}/000.tar" for path in chosen]
    assert matrix(first).tobytes() == expected.tobytes()
    # What can be read of the damaged one is there, and one row says that the rest is missing.
    second = [row for row in found if "001.tar" in row["path"]]
    good = [row for row in second if row["state"] == OK]
    (bad,) = [row for row in second if row["state"] == SKIPPED]
    assert 0 < len(good) < 12
    assert bad["reason"].startswith("the archive ")
    assert embed(tmp_path / "job", tmp_path / "*.tar").reused == 2


def test_parquet_with_bytes_or_paths(pictures: Path, tmp_path: Path) -> None:
    names = [str(path) for path in sorted(pictures.iterdir())][:20]
    contents = [Path(name).read_bytes() for name in names]
    expected = rrn_native.Embedder(size=64).embed(names)
    images = [{"bytes": content, "path": name} for content, name in zip(contents, names, strict=True)]
    table = pa.table({"content": [*contents[:-1], None], "name": names, "image": images})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=8)
    for columns, known in (
        (sources.Columns("content", "name"), 19),
        (sources.Columns("image"), 20),
        (sources.Columns("", "name"), 20),
    ):
        job = tmp_path / f"job-{columns.content}"
        totals = embed(job, tmp_path / "in.parquet", columns=columns)
        assert (totals.partitions, totals.images) == (3, known)
        found = rows(job)
        assert [row["path"] for row in found] == names
        assert matrix(found).tobytes() == expected[:known].tobytes()
    with pytest.raises(ScaleError, match=r"no column 'pixels'; it has content, name, image"):
        embed(tmp_path / "job", tmp_path / "in.parquet", columns=sources.Columns("pixels"))
    with pytest.raises(ScaleError, match="say which column"):
        embed(tmp_path / "job", tmp_path / "in.parquet")


def test_lists_and_urls(pictures: Path, tmp_path: Path) -> None:
    import fsspec

    names = [str(path) for path in sorted(pictures.iterdir())][:6]
    (tmp_path / "list.txt").write_text("\n".join([names[0], names[1], names[0], ""]))
    assert embed(tmp_path / "list", lists=[str(tmp_path / "list.txt")]).images == 2
    memory = fsspec.filesystem("memory")
    for name in names:
        memory.pipe_file(f"/scale/in/{Path(name).name}", Path(name).read_bytes())
    totals = embed("memory://scale/job", "memory://scale/in", f"file://{names[0]}")
    assert (totals.images, totals.skipped) == (7, 0)
    assert embed("memory://scale/job", "memory://scale/in", f"file://{names[0]}").reused == totals.partitions
    there = {row["path"].rpartition("/")[2]: row["embedding"] for row in rows("memory://scale/job")}
    expected = rrn_native.Embedder(size=64).embed(names)
    ours = np.array([there[Path(name).name] for name in names], np.float32)
    assert ours.tobytes() == expected.tobytes()
    memory.rm("/scale", recursive=True)


def test_an_object_store(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures in S3, the job in S3."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(
        port=0, verbose=False
    )
    server.start()
    try:
        host, port = server.get_host_and_port()
        settings = {"ENDPOINT_URL": f"http://{host}:{port}", "KEY": "test", "SECRET": "test"}
        for name, value in settings.items():
            monkeypatch.setenv(f"FSSPEC_S3_{name}", value)
        import fsspec
        from fsspec.config import conf, set_conf_env

        monkeypatch.setitem(conf, "s3", {})
        set_conf_env(conf)
        store = fsspec.filesystem("s3")
        store.mkdir("pictures")
        names = sorted(pictures.iterdir())[:16]
        for path in names:
            store.pipe_file(f"pictures/in/{path.name}", path.read_bytes())
        store.pipe_file("pictures/in/bad.jpg", b"nothing")
        totals = embed("s3://pictures/job", "s3://pictures/in")
        assert (totals.partitions, totals.images, totals.skipped) == (3, 16, 1)
        there = {row["path"]: row["embedding"] for row in rows("s3://pictures/job") if row["state"] == OK}
        expected = rrn_native.Embedder(size=64).embed(names)
        ours = np.array([there[f"s3://pictures/in/{path.name}"] for path in names], np.float32)
        assert ours.tobytes() == expected.tobytes()
        store.pipe_file("pictures/in/bad.jpg", names[0].read_bytes())
        again = embed("s3://pictures/job", "s3://pictures/in")
        assert (again.reused, again.images, again.skipped) == (2, 17, 0)
    finally:
        server.stop()


# ---- What is not done again ----------------------------------------------------------------------------------------


def test_only_what_has_changed_is_embedded_again(tmp_path: Path) -> None:
    folder, job = make_pictures(tmp_path / "in", 24), tmp_path / "job"
    assert embed(job, folder).reused == 0
    before = {path.name: path.stat().st_mtime_ns for path in (job / "embeddings").iterdir()}
    assert embed(job, folder).reused == 3
    make_picture(77).save(folder / "new.png")
    assert embed(job, folder).reused == 2, "a new file is in one partition"
    make_picture(78, 64, 64).save(folder / "new.png")
    assert embed(job, folder).reused == 2, "a changed file as well"
    (folder / "new.png").unlink()
    totals = embed(job, folder)
    assert (totals.reused, totals.images) == (2, 24)
    after = {path.name: path.stat().st_mtime_ns for path in (job / "embeddings").iterdir()}
    assert sum(before[name] == after[name] for name in before) == 2
    assert embed(job, folder, settings=Settings(size=96)).reused == 0, "another model"
    assert embed(job, folder, settings=Settings(size=96), resume=False).reused == 0


def test_damaged_files_of_a_job_are_made_again(tmp_path: Path) -> None:
    folder, job = make_pictures(tmp_path / "in", 24), tmp_path / "job"
    embed(job, folder)
    expected = rows(job)
    first, second, third = sorted((job / "embeddings").iterdir())
    first.write_bytes(first.read_bytes()[:100])
    (job / "manifests" / "embeddings" / f"{second.stem}.json").write_text("{")
    third.unlink()
    assert embed(job, folder).reused == 0
    assert rows(job) == expected
    # Same size, other bytes: found when it is read.
    content = bytearray(first.read_bytes())
    content[50] ^= 1
    first.write_bytes(content)
    with pytest.raises(ScaleError, match="damaged or replaced"):
        embedding.read_partition(str(job), embedding.manifests(str(job))[0], ["path"])


def test_sources_that_are_gone_are_removed(tmp_path: Path, pictures: Path) -> None:
    make_tar(tmp_path / "a.tar", pictures)
    make_tar(tmp_path / "b.tar", pictures)
    job = tmp_path / "job"
    assert embed(job, tmp_path / "a.tar", tmp_path / "b.tar").images == 24
    totals = embed(job, tmp_path / "b.tar")
    assert (totals.partitions, totals.reused, totals.removed, totals.images) == (1, 1, 1, 12)
    assert len(rows(job)) == 12


def test_a_killed_driver_loses_nothing(tmp_path: Path, run_similarity: RunSimilarity) -> None:
    folder, job = make_pictures(tmp_path / "in", 60), tmp_path / "job"
    words = ["scale", "embed", folder, "--output", job, "--engine", "processes", "--workers", "1", "--partition", "4"]
    command_line = [sys.executable, "-m", "rrn_native", *map(str, words), "--size", "64"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    process = subprocess.Popen(command_line, env=environment, start_new_session=True)
    finished = job / "manifests" / "embeddings"
    while process.poll() is None and len(storage.names_in(str(finished))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    # The worker ends with its driver.
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    kept = len([name for name in storage.names_in(str(finished)) if name.endswith(".json")])
    run = subprocess.run([*command_line, "--json", "-"], env=environment, capture_output=True, text=True, check=True)
    done = json.loads(run.stdout)
    assert (done["partitions"], done["reused"], done["images"]) == (15, kept, 60)
    assert 2 <= kept < 15
    check_equal(job, folder, run_similarity, tmp_path)


class Deadly:
    """A task that ends its process, the first times that it is called."""

    def __init__(self, folder: str, times: int) -> None:
        self._folder = Path(folder)
        self._times = times

    def __call__(self, text: str) -> str:
        marks = len(list(self._folder.iterdir()))
        if text == "3" and marks < self._times:
            (self._folder / str(marks)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return text


def test_a_task_whose_process_dies_runs_again(tmp_path: Path) -> None:
    tasks = [str(number) for number in range(8)]
    options = engines.Options("processes", 2)
    found = list(engines.run(options, engines.Work(Deadly, (str(tmp_path), 1)), tasks))
    assert sorted(found) == tasks
    with pytest.raises(ScaleError, match="a worker died 3 times over the task"):
        list(engines.run(options, engines.Work(Deadly, (str(tmp_path), 99)), tasks))


def test_a_worker_that_dies_between_two_tasks_costs_none(tmp_path: Path) -> None:
    tasks = [str(number) for number in range(8)]
    found = []
    for answer in engines.run(engines.Options("processes", 2), engines.Work(Deadly, (str(tmp_path), 1)), tasks):
        # Long enough for the pool to notice that it is broken before it gets another task.
        time.sleep(0.5)
        found.append(answer)
    assert sorted(found) == tasks


def test_a_source_that_is_not_there_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScaleError, match="no files"):
        list(sources.find(str(tmp_path / "empty")))
    with pytest.raises(ScaleError, match="no such file or folder"):
        list(sources.find(str(tmp_path / "nowhere")))


# ---- The command line ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("embed", "--output", "job"), 2, "expected a SOURCE or --list FILE"),
        (("embed", "no/*.jpg", "--output", "job"), 4, "nothing matches"),
        (("embed", "photoz", "--output", "job"), 4, "photoz: no such file or folder"),
        (("embed", "x.parquet", "--output", "job", "--path-column", "p"), 4, "x.parquet: "),
        (("embed", ".", "--output", "job", "--partition", "0"), 2, "--partition 0: expected at least 1"),
        (
            ("embed", ".", "--output", "job", "--workers", "0", "--engine", "daft"),
            2,
            "--workers 0: expected at least 1",
        ),
        (("embed", ".", "--output", "job", "--model", "no.onnx"), 2, "no.onnx"),
        (("embed", "nope://x/y", "--output", "job"), 4, "nope"),
        (("pairs", "job"), 4, "no embeddings here; run rrn scale embed first"),
        (("groups", "job"), 4, "no complete search for pairs here; run rrn scale pairs first"),
    ],
)
def test_failures_are_one_line_and_a_code(
    words: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_picture(1).save("a.png")
    more = () if "--engine" in words or words[0] == "groups" else ("--engine", "processes", "--workers", "0")
    assert command.main([*words, *more]) == code
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"rrn scale {words[0]}: ")
    assert message in line


def test_nothing_readable_has_a_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_text("no")
    words = [
        "embed",
        str(tmp_path / "in"),
        "--output",
        str(tmp_path / "job"),
        "--engine",
        "processes",
        "--workers",
        "0",
    ]
    assert command.main([*words, "--json", "-"]) == 3
    assert json.loads(capfd.readouterr().out)["skipped"] == 1
