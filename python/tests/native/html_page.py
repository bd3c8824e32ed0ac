"""A browser that shows the HTML page, and what the page says."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunSimilarity, make_picture
from PIL import Image, ImageFilter

SMALL = ("--size", 64)
HOW = "apt-get install chromium chromium-driver; pip install selenium; RRN_NO_BROWSER=1 leaves these tests out"


def start_browser(profile: Path) -> Any:
    """A browser without a window. It fails where it is missing, because a page that was not opened is not tested."""
    if os.environ.get("RRN_NO_BROWSER") == "1":
        pytest.skip("RRN_NO_BROWSER=1")
    try:
        from selenium import webdriver
    except ImportError:
        pytest.fail(f"selenium is missing ({HOW})")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    service = shutil.which("chromedriver")
    if browser is None or service is None:
        pytest.fail(f"chromium or chromedriver is missing ({HOW})")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    driver.set_window_size(1280, 1000)
    return driver


def draw_folder(folder: Path) -> None:
    """Six pictures with copies that are less and less alike, two broken files, and names that ask for trouble."""
    (folder / "sub").mkdir(parents=True)
    (folder / "<").mkdir()
    pictures = [make_picture(seed) for seed in range(6)]
    for i, picture in enumerate(pictures):
        picture.save(folder / f"picture{i}.png")
        picture.save(folder / "sub" / f"picture{i}.jpg", quality=60)
        picture.filter(ImageFilter.GaussianBlur(4)).save(folder / f"blurred{i}.png")
        for share in (0.1, 0.2, 0.35, 0.5):
            mixed = Image.blend(picture, pictures[(i + 1) % 6], share)
            mixed.save(folder / "sub" / f"mixed{i}_{round(100 * share)}.png")
    shutil.copy(folder / "picture0.png", folder / "copy.png")
    # With its folder: ".../</script><img ...".
    shutil.copy(
        folder / "picture1.png", folder / "<" / "script><img src=x onerror=document.title='broken'>\u2028\"&.png"
    )
    shutil.copy(folder / "picture2.png", os.fsencode(folder) + b"/zcaf\xe9 100%#?.png")
    shutil.copy(folder / "picture3.png", folder / "line\nbreak\\.png")
    (folder / "broken.png").write_bytes((folder / "picture0.png").read_bytes()[:100])
    (folder / "notes <b>.txt").write_text("not a picture")


def open_page(driver: Any, page: Path) -> None:
    driver.get_log("browser")
    driver.get_log("performance")
    driver.get(page.as_uri())
    settle(driver)


def settle(driver: Any) -> None:
    wait_for(lambda: driver.execute_script("return !pending"))


def wait_for(condition: Callable[[], Any]) -> Any:
    """Waits until `condition` holds; half a minute only bounds a test that fails."""
    end = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < end, "the page did not get there in time"
        time.sleep(0.02)
    return value


def set_number(driver: Any, threshold: object) -> None:
    write(driver.find_element("id", "threshold"), f"{threshold}\t")
    settle(driver)


def write(field: Any, text: str) -> None:
    """Types over what is there."""
    from selenium.webdriver.common.keys import Keys

    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.NULL, text or Keys.BACKSPACE)


Groups = list[tuple[bytes, list[tuple[bytes, str]]]]


def groups_in_page(driver: Any) -> Groups:
    """What is in the document: real paths (by the links) and similarities as shown."""
    driver.execute_script("""
        while (document.querySelector("#groups button.all")) document.querySelector("#groups button.all").click();""")
    cards = driver.execute_script("""
        return [...document.querySelectorAll("#groups .group")].map((group) =>
            [...group.querySelectorAll(".card")].map((card) =>
                [card.querySelector("a.name").href, card.querySelector(".badge").textContent]));""")
    groups = []
    for (first, badge), *members in cards:
        assert badge == "representative"
        groups.append((path_of(first), [(path_of(url), text) for url, text in members]))
    return groups


def path_of(url: str) -> bytes:
    assert url.startswith("file:///")
    return urllib.parse.unquote_to_bytes(url.removeprefix("file://"))


def groups_of_program(result: dict[str, Any]) -> Groups:
    return [
        (
            os.fsencode(group["representative"]),
            [(os.fsencode(member["path"]), member["similarity"]) for member in group["members"]],
        )
        for group in result["groups"]
    ]


def tiles(driver: Any) -> dict[str, int]:
    values: dict[str, str] = driver.execute_script("""
        return Object.fromEntries([...document.querySelectorAll("#tiles div")].map((tile) =>
            [tile.dataset.key, tile.querySelector("dd").textContent]));""")
    return {key: int(value.replace(",", "")) for key, value in values.items()}


def check_against_program(
    driver: Any, run_similarity: RunSimilarity, folder: Path, threshold: object, options: tuple[object, ...] = SMALL
) -> int:
    run = run_similarity(folder, *options, "--threshold", threshold, "--json", "-")
    assert run.returncode == 0, run.stderr
    expected = json.loads(run.stdout)
    shown = tiles(driver)
    for key in ("files", "read", "unique"):
        assert shown[key] == expected[key], (key, threshold)
    assert shown["skipped"] == len(expected["skipped"])
    assert shown["groups"] == len(expected["groups"])
    in_page, of_program = groups_in_page(driver), groups_of_program(expected)
    assert [(first, [path for path, _ in members]) for first, members in in_page] == [
        (first, [path for path, _ in members]) for first, members in of_program
    ], threshold
    for (_, seen), (_, computed) in zip(in_page, of_program, strict=True):
        for (_, text), (_, similarity) in zip(seen, computed, strict=True):
            assert float(text) == pytest.approx(similarity, abs=0.5e-4 + 1e-6)
    return len(expected["groups"])


def by_the_rule(
    count: int, pairs: dict[tuple[int, int], float], threshold: np.float32, rank: list[int] | None
) -> tuple[list[tuple[int, list[int]]], int]:
    """The rule of rrn/search.h, as slowly and plainly as it can be written."""
    near: list[dict[int, float]] = [{} for _ in range(count)]
    for (i, j), similarity in pairs.items():
        if np.float32(similarity) > threshold:
            near[i][j] = near[j][i] = similarity
    order = sorted(range(count), key=lambda row: rank[row] if rank else (-len(near[row]), row))
    representatives: list[int] = []
    for row in order:
        if not any(first in near[row] for first in representatives):
            representatives.append(row)
    groups: dict[int, list[int]] = {}
    for row in range(count):
        if row not in representatives:
            own = max((first for first in representatives if first in near[row]), key=lambda r: (near[row][r], -r))
            groups.setdefault(own, []).append(row)
    for own, members in groups.items():
        members.sort(key=lambda row: (-near[row][own], row))
    return sorted(groups.items()), len(representatives)
