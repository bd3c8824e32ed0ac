"""The executable as a user meets it: outputs, usage, exit codes, signals."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import BINARY, RunSimilarity, check_sums, make_picture, read_all, read_json

SMALL = ("--size", 64)


def test_json(run_similarity: RunSimilarity, photos: Path) -> None:
    data = read_json(run_similarity(photos, *SMALL, "--json", "-", "--threshold", 0.97))
    check_sums(data)
    assert data["version"] == 1
    assert data["threshold"] == 0.97
    assert data["files"] == 7
    assert data["model"]["embedding_dim"] == 512
    assert data["model"]["size"] == 64
    assert [Path(entry["path"]).name for entry in data["skipped"]] == ["broken.png", "notes.txt"]
    assert all(entry["reason"] for entry in data["skipped"])
    assert len(data["groups"]) == 1
    names = {Path(member["path"]).name for member in data["groups"][0]["members"]}
    names.add(Path(data["groups"][0]["representative"]).name)
    assert names == {"first.png", "first_small.png", "first.jpg"}
    assert data["unique"] == 3


def test_the_same_bytes_whatever_threads_batch_and_order(
    run_similarity: RunSimilarity, photos: Path, tmp_path: Path
) -> None:
    for i in range(12):
        make_picture(i % 5, 50 + i, 60).save(photos / f"more{i:02}.png")
    texts, embeddings = set(), set()
    for threads in (1, 2, 5):
        for batch in (1, 3, 8):
            npy = tmp_path / "e.npy"
            run = run_similarity(
                photos, *SMALL, "--threads", threads, "--batch", batch, "--json", "-", "--embeddings", npy
            )
            texts.add(run.stdout)
            embeddings.add(npy.read_bytes())
    assert len(texts) == len(embeddings) == 1
    # Another creation order gives the directory another order of entries.
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    photos.rename(tmp_path / "original")
    for path in sorted((tmp_path / "original").rglob("*"), reverse=True):
        if path.is_file():
            target = shuffled / path.relative_to(tmp_path / "original")
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_bytes(path.read_bytes())
    shuffled.rename(photos)
    assert run_similarity(photos, *SMALL, "--json", "-").stdout in texts


def test_text(run_similarity: RunSimilarity, photos: Path) -> None:
    run = run_similarity(photos, *SMALL, "--threshold", 0.97)
    text = run.stdout.decode()
    assert run.returncode == 0
    assert run.stderr == b"", "no progress line without a terminal"
    assert "group 1: 3 images" in text
    assert "broken.png: " in text
    assert "read     5" in text
    assert "unique   3  (1 group + 2 images in no group)" in text


def test_output_files(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    json_file, pairs, npy = tmp_path / "r.json", tmp_path / "p.csv", tmp_path / "e.npy"
    run = run_similarity(
        photos, *SMALL, "--threshold", 0.5, "--json", json_file, "--pairs", pairs, "--embeddings", npy, "--quiet"
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    data = json.loads(json_file.read_text())
    check_sums(data)
    embeddings = np.load(npy)
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (5, 512)
    paths = npy.with_suffix(".txt").read_text().splitlines()
    assert paths == [image["path"] for image in data["images"]]
    unit = embeddings.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T
    expected = {(paths[i], paths[j]) for i in range(5) for j in range(i + 1, 5) if cosine[i, j] > 0.5}
    with pairs.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["first"], row["second"]) for row in rows} == expected
    for row in rows:
        i, j = paths.index(row["first"]), paths.index(row["second"])
        assert float(row["similarity"]) == pytest.approx(cosine[i, j], abs=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "r.json", "p.csv", "e.npy", "e.txt"}


def test_unwritable_output_is_told_before_the_work(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    run = run_similarity(photos, *SMALL, "--json", tmp_path / "missing" / "r.json")
    assert run.returncode == 4
    assert b"cannot write" in run.stderr


def test_special_files_are_written_not_replaced(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real.json", tmp_path / "link.json", tmp_path / "pipe"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to("real.json")
    assert run_similarity(photos, *SMALL, "--json", link, "--quiet").returncode == 0
    assert link.is_symlink()
    assert json.loads(real.read_text())["files"] == 7
    assert real.stat().st_mode & 0o777 == 0o600
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    assert run_similarity(photos, *SMALL, "--json", pipe, "--quiet").returncode == 0
    assert json.loads(reader.communicate(timeout=60)[0])["files"] == 7
    assert pipe.is_fifo()


def test_full_disk_is_an_error(run_similarity: RunSimilarity, photos: Path) -> None:
    # Opened for writing, never named as an output: a program that replaces its outputs would replace the device.
    with Path("/dev/full").open("wb") as full:
        for arguments in ((photos, "--json", "-"), (photos,), (photos / "first.png", photos / "first.png")):
            command = [BINARY, *arguments, "--size", "64"]
            run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
            assert run.returncode == 4, arguments
            assert b"standard output" in run.stderr


def test_outputs_inside_the_folder_are_not_among_its_files(run_similarity: RunSimilarity, photos: Path) -> None:
    run = run_similarity(
        photos, *SMALL, "--json", "-", "--pairs", photos / "p.csv", "--embeddings", photos / "e.npy", "--threshold", 0.5
    )
    assert read_json(run)["files"] == 7
    assert {"p.csv", "e.npy", "e.txt"} <= {path.name for path in photos.iterdir()}


@pytest.mark.parametrize(
    ("limit", "codes"),  # KiB
    [
        (20_000, {127}),  # the dynamic linker itself has too little
        (100_000, {4}),  # the model does not fit
        (300_000, {0, 3, 4}),  # what fits depends on ONNX Runtime and on the machine
        (3_000_000, {0}),
    ],
)
def test_few_resources_give_an_error_not_a_crash(photos: Path, limit: int, codes: set[int]) -> None:
    command = f"ulimit -v {limit}; exec {BINARY} {photos} --threads 1000 --size 64 --batch 1 --quiet --json -"
    run = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=120)
    assert run.returncode in codes, run.stderr
    if run.returncode == 0:
        assert json.loads(run.stdout)["files"] == 7
    elif run.returncode != 127:
        # ONNX Runtime may print lines of its own before.
        assert run.stderr.splitlines()[-1].startswith(b"similarity: ")


def test_warns_when_most_pairs_are_similar(run_similarity: RunSimilarity, photos: Path) -> None:
    assert b"more than half" not in run_similarity(photos, *SMALL, "--threshold", -1).stderr, "a few may be alike"
    for seed in range(4, 10):
        make_picture(seed).save(photos / f"{seed}.png")
    everything = run_similarity(photos, *SMALL, "--threshold", -1, "--no-store")
    assert everything.returncode == 0
    assert everything.stderr.count(b"\n") == 1
    assert b"more than half of all pairs" in everything.stderr
    assert b"more than half" not in run_similarity(photos, *SMALL, "--threshold", -1, "--quiet").stderr
    assert b"more than half" not in run_similarity(photos, *SMALL, "--threshold", 0.99).stderr


def test_the_pairs_file_has_an_end(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    everything = ("--threshold", -1, "--pairs", pairs, "--json", "-")
    run = run_similarity(photos, *SMALL, *everything, "--max-pairs", 4)
    assert b"holds the first 4 of 10 similar pairs" in run.stderr
    assert sum(image["similar"] for image in read_json(run)["images"]) == 20, "counts are of all pairs"
    first = pairs.read_text().splitlines()
    assert len(first) == 1 + 4
    run = run_similarity(photos, *SMALL, *everything, "--max-pairs", 10)
    assert b"holds the first" not in run.stderr
    assert pairs.read_text().splitlines()[:5] == first
    assert run_similarity(photos, *SMALL, *everything, "--max-pairs", 0).returncode == 2


def test_search_methods(run_similarity: RunSimilarity, photos: Path) -> None:
    assert read_json(run_similarity(photos, *SMALL, "--json", "-"))["search"] == {"method": "exact", "recall": 1}
    assert run_similarity(photos, *SMALL, "--search", "fast").returncode == 2
    run = run_similarity(photos, *SMALL, "--search", "approximate", "--threshold", 0.97)
    if b"libhnswlib-dev" in run.stderr:
        assert run.returncode == 4
    else:
        assert b"search   approximate: found 6 of the 6 similar pairs of a sample of 5 images" in run.stdout


def test_two_outputs_at_one_place(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(tmp_path)
    for other in ("./x", "way/x", tmp_path / "x"):
        run = run_similarity(photos, *SMALL, "--json", "x", "--pairs", other, cwd=tmp_path)
        assert run.returncode == 2
        assert b"two outputs" in run.stderr
        assert not (tmp_path / "x").exists()


def test_ignored_signals_stay_ignored(photos: Path) -> None:
    # The shell waits until the program reads its list, which is after it has seen to signals.
    for name, code in (("HUP", 0), ("INT", 0)):
        script = f"""trap '' {name}; mkfifo {photos}/fifo
            {BINARY} --list {photos}/fifo --size 64 --quiet & exec 3> {photos}/fifo
            kill -{name} $!; echo {photos}/first.png >&3; exec 3>&-; wait $!"""
        run = subprocess.run(["bash", "-c", script], capture_output=True, check=False, timeout=120)
        assert (run.returncode, run.stderr) == (code, b"")
        (photos / "fifo").unlink()


def test_two_files(run_similarity: RunSimilarity, photos: Path) -> None:
    same = run_similarity(photos / "first.png", photos / "first_small.png", *SMALL)
    assert same.returncode == 0
    similarity, verdict = same.stdout.decode().split(maxsplit=1)
    assert float(similarity) > 0.9
    assert verdict.strip() == "similar"
    other = run_similarity(photos / "first.png", photos / "second.png", *SMALL, "--threshold", 0.9999)
    assert other.returncode == 1
    assert b"not similar" in other.stdout
    broken = run_similarity(photos / "first.png", photos / "broken.png", *SMALL)
    assert broken.returncode == 3
    assert broken.stderr.count(b"\n") == 1
    assert b"broken.png" in broken.stderr


def test_nothing_readable(run_similarity: RunSimilarity, tmp_path: Path) -> None:
    empty = run_similarity(tmp_path)
    assert empty.returncode == 3
    assert b"no readable image among 0 files" in empty.stderr
    (tmp_path / "notes.txt").write_text("text")
    only_text = run_similarity(tmp_path, "--json", "-")
    assert only_text.returncode == 3
    data = json.loads(only_text.stdout)
    assert (data["files"], data["read"], data["unique"]) == (1, 0, 0)
    assert data["skipped"][0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "required"),
        (("/nowhere/at/all",), "no such file"),
        (("{photos}", "--threshold", "1.0"), "threshold"),
        (("{photos}", "--threshold", "many"), "threshold"),
        (("{photos}", "--size", "5"), "size is 5"),
        (("{photos}", "--batch", "0"), "batch is 0"),
        (("{photos}", "--provider", "tpu"), "provider"),
        (("{photos}", "--no-such-option"), "no-such-option"),
        (("{photos}", "{photos}", "{photos}"), "at most 2"),
        (("{photos}/first.png",), "not a folder"),
        (("{photos}", "{photos}/first.png"), "is a folder"),
        (("{photos}/first.png", "{photos}/second.png", "--json", "-"), "belongs to a folder"),
        (("{photos}/first.png", "{photos}/second.png", "--keep", "largest"), "--keep belongs to a folder"),
        (("{photos}", "--threshold", ""), "empty"),
        (("{photos}", "--json", ""), "empty"),
        (("{photos}", "--max-megapixels", "-1"), "max-megapixels"),
        (("{photos}", "--pairs", "{photos}/x", "--json", "{photos}/x"), "same name"),
        (("{photos}", "--embeddings", "{photos}/e.txt"), ".npy"),
        (("{photos}", "--pairs", "-"), "only --json"),
        (("--no-such-option",), "no-such-option"),
        (("{photos}", "--list", "-"), "--list takes the place of a folder"),
        (("--list", "{photos}/none"), "no such file"),
        (("--list", "{photos}"), "is a directory"),
        (("{photos}", "--against", "{photos}/none"), "no such folder"),
        (("{photos}", "--against", "{photos}/first.png"), "not a folder"),
        (("{photos}", "--against", "{photos}/sub", "--keep", "first"), "always kept"),
        (("{photos}", "--against", "{photos}/sub", "--search", "approximate"), "exactly"),
        (("{photos}/first.png", "{photos}/second.png", "--against", "{photos}"), "belongs to a folder"),
        (("{photos}", "{photos}/sub"), "two folders: --against"),
    ],
)
def test_wrong_usage(run_similarity: RunSimilarity, photos: Path, arguments: tuple[str, ...], words: str) -> None:
    run = run_similarity(*(argument.format(photos=photos) for argument in arguments))
    assert run.returncode == 2
    assert words.format(photos=photos).lower() in run.stderr.decode().lower()
    assert run.stderr.count(b"\n") == 1, "one clear line"
    assert run.stdout == b""


def test_model_errors(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    missing = run_similarity(photos, "--model", tmp_path / "none.onnx")
    assert missing.returncode == 4
    assert b"none.onnx" in missing.stderr
    bad = tmp_path / "bad.onnx"
    bad.write_text("no model")
    assert run_similarity(photos, "--model", bad).returncode == 4


def test_help_and_version(run_similarity: RunSimilarity) -> None:
    text = run_similarity("--help").stdout.decode()
    for option in (
        *("--threshold", "--model", "--size", "--batch", "--threads", "--provider", "--recursive", "--json", "--pairs"),
        *("--embeddings", "--quiet", "--version", "--precision", "--no-cache", "Exit codes", "130"),
        *("--list", "--against", "--keep", "--skip", "--move-to", "--hardlink", "--undo"),
        *("What to compare", "Examples"),
    ):
        assert option in text
    assert b"ONNX Runtime" in run_similarity("--version").stdout


def test_pixel_limit(run_similarity: RunSimilarity, photos: Path) -> None:
    make_picture(5, 2000, 1000).save(photos / "large.png")
    data = read_json(run_similarity(photos, *SMALL, "--max-megapixels", 1, "--json", "-"))
    (skipped,) = [entry for entry in data["skipped"] if "large.png" in entry["path"]]
    assert "max-megapixels" in skipped["reason"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt(photos: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    for i in range(400):
        make_picture(i % 7, 300, 200).save(photos / f"{i}.jpg")
    output = tmp_path / "r.json"
    output.write_text("old")
    command = [str(BINARY), str(photos), "--json", str(output), "--batch", "1", "--threads", "1"]
    master, slave = pty.openpty()  # the progress line tells that the work has begun
    # Background jobs of scripts ignore Ctrl-C, and what they start does so too.
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=slave, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)
    )
    os.close(slave)
    shown = b""
    while b"images" not in shown:
        shown += os.read(master, 4096)
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert b"interrupted" in read_all(master)
    assert output.read_text() == "old"
    assert list(tmp_path.glob("r.json*")) == [output]


def test_progress_on_a_terminal(photos: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen([str(BINARY), str(photos), "--size", "64"], stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    shown = read_all(master)
    assert process.wait(timeout=60) == 0
    assert b"images" in shown
    assert b"/ 7" in shown


def test_runs_without_python_on_the_path(photos: Path) -> None:
    run = subprocess.run(
        [str(BINARY), str(photos), "--size", "64", "--quiet"], env={"PATH": "/nonexistent"}, check=False, timeout=60
    )
    assert run.returncode == 0
    libraries = subprocess.run(["ldd", str(BINARY)], capture_output=True, text=True, check=True).stdout
    assert "python" not in libraries.replace(sys.prefix, "")
