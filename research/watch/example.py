"""Watches a video live, in a browser, and kills the broker meanwhile: scripts/watch_example.sh."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
from rrn_ops.streaming import message
from rrn_ops.streaming.local_broker import BrokerError, LocalBroker

from research.common import results
from research.watch.latency import running

RECOVERY_SECONDS = 5.0
_WAIT_SECONDS = 60.0
_RRN = (sys.executable, "-m", "rrn_native", "watch")
_COUNT = 25


class Tour:
    """What is looked at, and whether it is as it should be.

    Args:
        browser: A browser with the page open.
        output: Where screenshots go.
    """

    def __init__(self, browser: Any, output: Path) -> None:
        self.failures = 0
        self._browser = browser
        self._output = output

    def check(self, what: str, good: bool) -> None:
        """Prints what was found, and counts what is not as it should be."""
        print(f"{'ok    ' if good else 'FAILED'}  {what}", flush=True)
        self.failures += not good

    def script(self, text: str) -> Any:
        """Returns the value of a script of the page."""
        return self._browser.execute_script(text)

    def frame(self) -> int:
        """Returns the number of the frame that is painted."""
        return int(self.script("return document.getElementById('picture').dataset.frame ?? 0"))

    def live(self) -> bool:
        """Whether the page says that the picture is live."""
        return bool(self.script("return document.getElementById('stage').dataset.state") == "live")

    def wait(self, what: str, condition: Callable[[], bool], seconds: float = _WAIT_SECONDS) -> float:
        """Waits for something, and checks that it came; returns after how many seconds."""
        begin = time.monotonic()
        while not (good := condition()) and time.monotonic() < begin + seconds:
            time.sleep(0.02)
        took = time.monotonic() - begin
        self.check(f"{what} ({took:.1f} s)", good)
        return took

    def screenshot(self, name: str, width: int, height: int, scheme: str) -> None:
        """Takes a picture of the page at a size, light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        time.sleep(1)
        results.write_bytes(self._output / name, self._browser.get_screenshot_as_png())

    def look(self) -> None:
        """Sees the boxes move and the main person followed."""
        self.wait("the page shows a live picture", self.live)
        self.wait("the page names a main person", lambda: bool(self._main()))
        seen = []
        for _ in range(12):
            main = self._main()
            if main:
                seen.append(main)
            time.sleep(0.4)
        places = {place for _, place in seen}
        people = {who for who, _ in seen}
        self.check(f"the main person's box moves: {len(places)} places in {len(seen)} looks", len(places) >= 5)
        self.check(
            f"the main person is followed: {len(people)} different one(s) in {len(seen)} looks", len(people) <= 3
        )
        stages = self.script(
            "return Object.fromEntries([...document.querySelectorAll('#stages tr')].map("
            "(row) => [row.dataset.stage, [...row.querySelectorAll('td')].map((cell) => cell.textContent)]))"
        )
        for stage, values in stages.items():
            print(f"        {stage:12} {'  '.join(f'{value:>7}' for value in values)}")
        self.check(
            "the page has the whole latency", "end_to_end" in stages and "–" not in "".join(stages["end_to_end"])
        )

    def _main(self) -> tuple[str, str] | None:
        found = self.script(
            "const row = document.querySelector('#people .main');"
            "return row && [row.querySelector('.who').textContent, row.querySelector('.hint').textContent]"
        )
        return (found[0], found[1]) if found else None


@contextlib.contextmanager
def opened(url: str) -> Iterator[Any]:
    """Opens a page in Chromium without a window.

    Raises:
        RuntimeError: There is no browser.
    """
    from selenium import webdriver

    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if binary is None or driver is None:
        raise RuntimeError("no browser: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
            options.add_argument(argument)
        options.add_argument(f"--user-data-dir={profile}")
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            browser.get(url)
            yield browser
        finally:
            browser.quit()


def read_messages(port: int, count: int) -> list[bytes]:
    """Returns messages of frames as an independent program reads them: mosquitto_sub.

    Raises:
        RuntimeError: It is not installed, or gives nothing.
    """
    program = shutil.which("mosquitto_sub")
    if program is None:
        raise RuntimeError("no mosquitto_sub: apt-get install mosquitto-clients")
    words = [program, "-h", "127.0.0.1", "-p", str(port), "-t", "rrn/+/frame", "-C", str(count), "-W", "30"]
    found = subprocess.run(words, capture_output=True, check=False)
    if found.returncode != 0:
        raise RuntimeError(f"mosquitto_sub: {found.stderr.decode(errors='replace').strip()}")
    return found.stdout.splitlines()


def check_messages(tour: Tour, port: int) -> None:
    """Checks messages against the JSON Schema, and that their counters add up."""
    schema = jsonschema.Draft202012Validator(message.json_schema())
    found = [json.loads(line) for line in read_messages(port, _COUNT)]
    wrong = [error.message for one in found for error in schema.iter_errors(one)]
    tour.check(f"mosquitto_sub reads {len(found)} messages, {len(wrong)} against the schema {wrong[:1]}", not wrong)
    sums = [one["counters"] for one in found]
    right = all(
        one["captured"] == one["processed"] + one["corrupt"] + one["replaced"] + one["waiting"]
        and one["processed"] == one["published"] + one["not_sent"] + one["rate_limited"]
        for one in sums
    )
    tour.check(f"the counters of all of them add up, the last: {sums[-1]}", right)


def run(video: Path, model: str, output: Path) -> int:
    """Runs the example; returns how many checks failed.

    Raises:
        BrokerError, RuntimeError: A program is missing.
    """
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(LocalBroker())
        where = ["--broker", f"127.0.0.1:{broker.port}"]
        view = stack.enter_context(running([*_RRN, "view", "--port", "0", *where]))
        assert view.stdout is not None
        page = view.stdout.readline().strip()
        stack.enter_context(
            running([*_RRN, "publish", str(video), "--loop", "--camera", "yard", "--model", model, *where])
        )
        print(f"broker 127.0.0.1:{broker.port}, page {page}")
        tour = Tour(stack.enter_context(opened(page)), output)
        tour.look()
        tour.screenshot("watch_light.png", 1280, 900, "light")
        tour.screenshot("watch_dark.png", 1280, 900, "dark")
        tour.screenshot("watch_phone.png", 360, 1400, "light")
        check_messages(tour, broker.port)
        os.kill(broker.pid, signal.SIGKILL)
        tour.wait("the broker is killed; the page says that the picture is old", lambda: not tour.live())
        tour.screenshot("watch_stale.png", 1280, 900, "light")
        last = tour.frame()
        with LocalBroker(broker.port):
            took = tour.wait(
                "the broker is started again; the page shows new frames",
                lambda: tour.live() and tour.frame() > last,
                RECOVERY_SECONDS,
            )
            tour.check(f"it recovers within {RECOVERY_SECONDS:.0f} s by itself", took < RECOVERY_SECONDS)
    return tour.failures


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="research.watch.example", description="Watch a video live, in a browser.")
    parser.add_argument("--video", type=Path, required=True, metavar="FILE")
    parser.add_argument("--model", default="fast", metavar="NAME", help="a detector (default %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where screenshots go")
    arguments = parser.parse_args(argv)
    try:
        failures = run(arguments.video, arguments.model, arguments.output)
    except (BrokerError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{failures} checks failed" if failures else "everything is as it should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
