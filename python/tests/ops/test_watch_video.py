"""Sources and the offline verb: frames in = rows out, broken frames named, files complete or untouched."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av", reason="the extra 'watch' is not installed")
pytest.importorskip("trackers", reason="the extra 'watch' is not installed")

from blob_detector import blob_model, scene  # noqa: E402
from rrn_native import cli  # noqa: E402
from rrn_ops.streaming import batch, drawing, sources  # noqa: E402
from rrn_ops.streaming.grabber import Grabber  # noqa: E402
from rrn_ops.streaming.watcher import Watcher, WatchOptions, make_detector  # noqa: E402

SIZE = (160, 120)


def walk(k: int) -> tuple[float, float, float, float]:
    """Where the rectangle is in frame k: in the left half."""
    return (8 + k, 30, 28 + k, 90)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_model(tmp_path_factory.mktemp("blob") / "blob.onnx")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    with drawing.VideoWriter(path, SIZE, 25) as writer:
        for k in range(40):
            writer.add(scene(SIZE, walk(k)))
    return path


def frames_of(name: Path | str, **options: Any) -> list[sources.Frame | sources.BrokenFrame]:
    return list(sources.open_source(str(name), **options).frames())


def test_a_video_gives_all_its_frames(video: Path) -> None:
    frames = frames_of(video)
    assert [one.number for one in frames] == list(range(1, 41))
    np.testing.assert_allclose([one.seconds for one in frames], np.arange(40) / 25, atol=1e-3)
    first = frames[0]
    assert isinstance(first, sources.Frame)
    pixels = first.pixels((80, 60))
    assert pixels.shape == (60, 80, 3)
    assert pixels.dtype == np.uint8
    assert pixels[30, 9].min() > 200
    assert pixels[30, 40].max() < 50
    assert sources.video_rate(str(video)) == 25


def test_a_video_with_damage_names_the_broken_frames(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "damaged.avi"
    # Motion JPEG: each frame is on its own, so one that is overwritten is one broken frame.
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        for k in range(10):
            for packet in stream.encode(av.VideoFrame.from_ndarray(scene(SIZE, walk(k)), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    content = bytearray(path.read_bytes())
    starts = [k for k in range(len(content) - 1) if content[k : k + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 10
    content[starts[4] : starts[5] - 8] = b"\x00" * (starts[5] - 8 - starts[4])
    path.write_bytes(content)
    rows = tmp_path / "rows.jsonl"
    assert (
        cli.main(["watch", str(path), "--model", str(model), "--output", str(rows), "--json", str(tmp_path / "s")]) == 0
    )
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["frame"] for row in found] == list(range(1, 11))
    assert [row["frame"] for row in found if "error" in row] == [5]
    summary = json.loads((tmp_path / "s").read_text())
    assert (summary["frames"], summary["read"], len(summary["broken"])) == (10, 9, 1)
    assert summary["broken"][0]["frame"] == 5


def test_a_truncated_video_gives_what_is_there(video: Path, tmp_path: Path) -> None:
    # With the index in front, as files for the web have it.
    whole = tmp_path / "whole.mkv"
    with av.open(str(video)) as source, av.open(str(whole), "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    frames = frames_of(path)
    assert 1 <= len(frames) < 40
    assert [one.number for one in frames] == list(range(1, len(frames) + 1))


def test_a_folder_names_files_that_are_no_pictures(tmp_path: Path) -> None:
    for k in range(3):
        Image.fromarray(scene(SIZE, walk(k))).save(tmp_path / f"{k}.png")
    (tmp_path / "1.txt").write_text("no picture")
    frames = frames_of(tmp_path, fps=10)
    assert [type(one).__name__ for one in frames] == ["Frame", "Frame", "BrokenFrame", "Frame"]
    broken = frames[2]
    assert isinstance(broken, sources.BrokenFrame)
    assert broken.reason.startswith("1.txt")
    assert [one.seconds for one in frames] == [0, 0.1, 0.2, pytest.approx(0.3)]


def test_a_loop_goes_on_with_numbers_and_times(video: Path) -> None:
    source = sources.open_source(str(video), loop=True).frames()
    frames = [next(source) for _ in range(100)]
    assert [one.number for one in frames] == list(range(1, 101))
    np.testing.assert_allclose(np.diff([one.seconds for one in frames]), 1 / 25, atol=1e-3)


@pytest.mark.parametrize("name", ["no-such.mp4", "/dev/video99", "rtsp://127.0.0.1:1/x"])
def test_sources_that_are_not_there(name: str) -> None:
    with pytest.raises(sources.SourceError, match=name.replace(".", r"\.")):
        frames_of(name)


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(sources.SourceError, match=r"text\.mp4"):
        frames_of(tmp_path / "text.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(sources.SourceError, match="without files"):
        frames_of(tmp_path / "empty")


@pytest.mark.parametrize("text", ["", "427", "427x", "0x240", "427x240x3", "99999x240", "-1x5", "15x240"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}'"):
        sources.parse_size(text)


def test_the_newest_frame_wins_and_counts_add_up(video: Path) -> None:
    with Grabber(sources.open_source(str(video))) as grabber:
        deadline = time.monotonic() + 10
        while grabber.counts.captured < 40 and time.monotonic() < deadline:
            time.sleep(0.01)
        taken = grabber.take(5)
        assert taken is not None
        frame, counts = taken
        assert frame.number == 40
        assert (counts.captured, counts.replaced, counts.taken, counts.waiting) == (40, 39, 1, 0)
        assert grabber.take(5) is None
        assert grabber.ended


def test_a_camera_that_fails_is_opened_again() -> None:
    opened = []

    def frames() -> sources.Frames:
        opened.append(True)
        yield from frames_of("test.none") if len(opened) == 2 else _some_frames()

    with Grabber(sources.Source("camera", True, frames)) as grabber:
        deadline = time.monotonic() + 20
        while len(opened) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        while grabber.counts.captured < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        counts = grabber.counts
        assert not grabber.ended
    assert len(opened) >= 3
    assert counts.captured == counts.taken + counts.corrupt + counts.replaced + counts.waiting
    assert counts.captured % 2 == 0


def _some_frames() -> sources.Frames:
    source = sources.open_source("test", fps=100).frames()
    yield next(source)
    yield next(source)
    raise sources.SourceError("unplugged")


def test_every_frame_of_a_video_has_its_row(video: Path, model: Path, tmp_path: Path) -> None:
    rows, made, sheet = tmp_path / "rows.jsonl", tmp_path / "out.mp4", tmp_path / "sheet.png"
    words = ["watch", str(video), "--model", str(model), "--size", "160x120", "--output", str(rows)]
    assert cli.main([*words, "--annotate", str(made), "--sheet", str(sheet)]) == 0
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert len(found) == 40
    for k, row in enumerate(found):
        assert (row["frame"], row["source"], row["width"], row["height"]) == (k + 1, "detected", 160, 120)
        assert len(row["people"]) == 1
        # A pixel of the network's input is 2.5 x 1.9 of these; the video is compressed.
        np.testing.assert_allclose(row["people"][0]["box"], walk(k), atol=4)
    assert {row["people"][0]["id"] for row in found} == {1}
    assert [row["main"] for row in found] == [None] * 5 + [1] * 35
    assert len(frames_of(made)) == 40
    with Image.open(sheet) as picture:
        assert picture.size[0] > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "rows.jsonl", "sheet.png"]


def test_between_detections_boxes_are_predicted(video: Path, model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    words = ["watch", str(video), "--model", str(model), "--size", "160x120", "--output", str(rows), "--every", "3"]
    assert cli.main(words) == 0
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["source"] for row in found] == (["detected", "tracked", "tracked"] * 14)[:40]
    assert {row["people"][0]["id"] for row in found} == {1}
    for k, row in enumerate(found[12:], 12):
        np.testing.assert_allclose(row["people"][0]["box"], walk(k), atol=6)


def test_the_same_video_gives_the_same_rows(video: Path, model: Path, tmp_path: Path) -> None:
    contents = []
    for k, threads in enumerate(("1", "2")):
        rows = tmp_path / f"{k}.jsonl"
        assert cli.main(["watch", str(video), "--model", str(model), "--threads", threads, "--output", str(rows)]) == 0
        contents.append(rows.read_bytes())
    assert contents[0] == contents[1]


def test_a_run_that_is_stopped_leaves_nothing(video: Path, model: Path, tmp_path: Path) -> None:
    outputs = batch.Outputs(rows=tmp_path / "rows", annotate=tmp_path / "out.mp4", sheet=tmp_path / "sheet.png")
    watcher = Watcher(make_detector(str(model)), WatchOptions())
    with pytest.raises(batch.CancelledError, match="after 7 frames"):
        batch.watch_all(sources.open_source(str(video)), watcher, outputs, lambda frames, _: frames < 7)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["no-such.mp4"], 3, "no such file"),
        (["{video}", "--model", "no-such"], 2, "no-such"),
        (["{video}", "--size", "1x1"], 2, "'1x1'"),
        (["{video}", "--every", "9"], 2, "every is 9"),
        (["{video}", "--score", "2"], 2, "score is 2"),
        (["{video}", "--output", "/no/such/rows"], 2, "no such folder"),
        (["test"], 2, "has no end"),
        (["/dev/video77"], 2, "has no end"),
    ],
)
def test_wrong_usage(words: list[str], code: int, message: str, video: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _code([word.replace("{video}", str(video)) for word in words]) == code
    said = capfd.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def _code(words: list[str]) -> int:
    try:
        return cli.main(["watch", *words])
    except SystemExit as ended:
        return int(ended.code or 0)


def test_a_sheet_is_spread_over_a_video_of_any_length() -> None:
    for length in (1, 5, 12, 13, 500):
        sampler = drawing.SheetSampler(12)
        for k in range(length):
            sampler.add(str(k), np.full((8, 8, 3), k % 256, np.uint8))
        kept = [int(title) for title, _ in sampler.frames()]
        assert len(kept) == min(12, length)
        assert kept[0] == 0
        assert kept == sorted(set(kept))
        assert kept[-1] >= length * 0.85 - 1


def test_a_drawing_marks_the_main_person(model: Path) -> None:
    picture = scene(SIZE, (20, 20, 60, 100))
    watcher = Watcher(make_detector(str(model)), WatchOptions())
    for k in range(10):
        watched = watcher.watch(picture, 1 + k / 10)
    assert watched.main is not None
    drawn = drawing.annotated(picture, watched)
    assert drawn.shape == picture.shape
    orange = np.all(drawn == [213, 94, 0], axis=2)
    assert orange.any()
    buffer = io.BytesIO()
    drawing.sheet([("frame", drawn)]).save(buffer, "PNG")
    assert buffer.tell() > 1000


@pytest.mark.parametrize("fps", [3, 10, 25])
@pytest.mark.parametrize("every", [1, 8])
def test_nobody_is_lost_between_detections(model: Path, fps: int, every: int) -> None:
    watcher = Watcher(make_detector(str(model)), WatchOptions(every=every))
    mains = []
    for k in range(6 * fps):
        watched = watcher.watch(scene(SIZE, walk(abs(round(30 * k / fps) % 80 - 40))), 5 + k / fps)
        mains.append(watched.main.id if watched.main is not None else None)
    # All but the dwell time at the beginning; the rectangle walks to and fro.
    assert mains.count(None) <= 0.3 * fps + 1
    assert watcher.every == every


def test_as_often_as_the_machine_can(model: Path) -> None:
    watcher = Watcher(make_detector(str(model)), WatchOptions(every=0))
    assert watcher.every == 1
    # 100,000 frames a second are more than any machine can.
    for k in range(30):
        watcher.watch(scene(SIZE, walk(1)), 5 + k * 1e-5)
    assert watcher.every == 8


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([1000.0, 1000.1, 1000.2], [0, 0.1, 0.2]),
        ([0.0, 0.1, 3600.1, 3600.2], [0, 0.1, 0.2, 0.3]),
        ([10.0, 10.1, 0.0, 0.1], [0, 0.1, 0.2, 0.3]),
        ([0.0, 0.1, 0.05, 0.2], [0, 0.1, 0.1, 0.2]),
        ([None, None, None], [0, 0.04, 0.08]),
        ([0.0, 0.5, None, 1.5], [0, 0.5, 1.0, 1.5]),
    ],
)
def test_times_go_on_whatever_a_file_says(stamps: list[float | None], expected: list[float]) -> None:
    times = sources._Times()
    assert [times.of(stamp) for stamp in stamps] == pytest.approx(expected)


def test_a_phones_video_stands_upright() -> None:
    picture = av.VideoFrame.from_ndarray(scene((64, 32), (0, 0, 64, 8)), format="rgb24")

    class Turned:
        """A frame with a display matrix, which this version of FFmpeg's writer cannot make."""

        rotation, width, height = -90, 64, 32

    frame = sources.Frame(1, 0.0, 0, 0.0, 0.0, 0.0, picture)
    assert frame.upright_size == (64, 32)
    turned = sources.Frame(1, 0.0, 0, 0.0, 0.0, 0.0, Turned())  # type: ignore[arg-type]
    assert turned.upright_size == (32, 64)
    assert turned._quarters == 3


def test_pictures_of_a_folder_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for k in (1, 2, 10, 11):
        Image.fromarray(np.full((16, 16, 3), k, np.uint8)).save(tmp_path / f"frame{k}.png")
    frames = frames_of(tmp_path)
    assert [int(one.pixels((16, 16))[0, 0, 0]) for one in frames if isinstance(one, sources.Frame)] == [1, 2, 10, 11]


def test_an_annotated_video_has_the_times_of_its_source(tmp_path: Path, model: Path) -> None:
    source, target = tmp_path / "slow.mp4", tmp_path / "out.mp4"
    seconds = [0.0, 0.5, 3.0, 3.04, 3.08, 4.9]
    with drawing.VideoWriter(source, SIZE, 0.7) as writer:
        for k, at in enumerate(seconds):
            writer.add(scene(SIZE, walk(k)), at)
    assert cli.main(["watch", str(source), "--model", str(model), "--annotate", str(target)]) == 0
    assert [one.seconds for one in frames_of(target)] == pytest.approx(seconds, abs=2e-3)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "{video}"], "is the video"),
        (["--annotate", "{video}"], "is the video"),
        (["--output", "same", "--sheet", "./same"], "two outputs"),
        (["--output", "same", "--json", "same"], "two outputs"),
        (["--sheet", "."], "no file"),
        (["--output", "/dev/null"], "no file"),
    ],
)
def test_outputs_take_nothings_place(
    words: list[str],
    message: str,
    video: Path,
    empty_folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = video.read_bytes()
    assert _code([str(video), "--model", "none", *(word.replace("{video}", str(video)) for word in words)]) == 2
    assert message in capfd.readouterr().err
    assert video.read_bytes() == before
    assert list(empty_folder.iterdir()) == []


def test_passwords_of_addresses_are_not_said() -> None:
    address = "rtsp://admin:s3cret@127.0.0.1:1/x"
    source = sources.open_source(address)
    assert source.name == "rtsp://127.0.0.1:1/x"
    with pytest.raises(sources.SourceError) as error:
        list(source.frames())
    assert "s3cret" not in str(error.value)
    assert sources.without_password(f"'{address}': no") == "'rtsp://127.0.0.1:1/x': no"


def test_an_address_may_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_ADDRESS", "rtsp://admin:s3cret@127.0.0.1:1/x")
    assert sources.open_source("env:CAMERA_ADDRESS").name == "rtsp://127.0.0.1:1/x"
    with pytest.raises(sources.SourceError, match="no variable NO_SUCH"):
        sources.open_source("env:NO_SUCH")
