"""The HTML page in a real browser: its groups against the program's at every threshold, filters, keys, safety."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunSimilarity, make_picture
from html_page import (
    SMALL,
    by_the_rule,
    check_against_program,
    draw_folder,
    groups_in_page,
    groups_of_program,
    open_page,
    path_of,
    set_number,
    settle,
    start_browser,
    tiles,
    wait_for,
    write,
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser = start_browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("html") / "photos"
    draw_folder(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path, run_similarity: RunSimilarity) -> Path:
    page = folder.parent / "results" / "page.html"
    page.parent.mkdir()
    run = run_similarity(folder, *SMALL, "--html", page, "--quiet")
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    return page


def test_it_is_the_program_at_every_threshold(
    driver: Any, page: Path, folder: Path, run_similarity: RunSimilarity
) -> None:
    open_page(driver, page)
    assert check_against_program(driver, run_similarity, folder, 0.75) > 0
    similarities = driver.execute_script("return data.similarity")
    assert similarities == sorted(similarities, reverse=True)
    exact = [similarity for similarity in similarities if similarity < 1]
    thresholds: list[object] = [0.5, 0.9, 0.98, 0.999, 0.99995]
    for place in np.linspace(0, len(exact) - 1, 5).astype(int):
        similarity = np.float32(exact[place])
        # At the similarity itself the pair is not similar, one float below it is.
        thresholds += [str(similarity), str(np.nextafter(similarity, np.float32(-1)))]
    numbers = set()
    for threshold in thresholds:
        set_number(driver, threshold)
        assert float(driver.find_element("id", "threshold").get_property("value")) == float(str(threshold))
        numbers.add(check_against_program(driver, run_similarity, folder, threshold))
    assert len(numbers) > 3, "the thresholds make no difference, so nothing was compared"

    from selenium.webdriver.common.keys import Keys

    slider = driver.find_element("id", "slider")
    for keys in (Keys.HOME, Keys.ARROW_RIGHT * 7, Keys.END, Keys.ARROW_LEFT * 40):
        slider.send_keys(keys)
        settle(driver)
        check_against_program(
            driver, run_similarity, folder, driver.find_element("id", "threshold").get_property("value")
        )
    assert driver.find_element("id", "reset").is_enabled()
    driver.find_element("id", "reset").click()
    settle(driver)
    check_against_program(driver, run_similarity, folder, 0.75)


@pytest.mark.parametrize("keep", ["first", "largest"])
def test_it_keeps_what_the_program_keeps(
    driver: Any, folder: Path, run_similarity: RunSimilarity, tmp_path: Path, keep: str
) -> None:
    options = (*SMALL, "--keep", keep)
    page = tmp_path / "page.html"
    assert run_similarity(folder, *options, "--html", page, "--quiet").returncode == 0
    open_page(driver, page)
    groups = []
    for threshold in (0.75, 0.95):
        set_number(driver, threshold)
        assert check_against_program(driver, run_similarity, folder, threshold, options) > 0
        groups.append(groups_in_page(driver))
    assert groups[0] != groups[1]


def test_the_histogram_follows(driver: Any, page: Path) -> None:
    open_page(driver, page)
    assert "all 1,035 pairs" in driver.find_element("id", "histogram-of").text, "46 images"
    assert driver.execute_script("return data.histogram.counts.reduce((a, b) => a + b)") == 1035
    before = driver.find_element("id", "marker").get_attribute("x1")
    set_number(driver, 0.9)
    assert driver.find_element("id", "marker").get_attribute("x1") != before
    assert driver.find_element("id", "flag-text").get_attribute("textContent") == "0.9"
    assert "0.9" in driver.find_element("id", "histogram").get_attribute("aria-label")
    assert driver.execute_script("return document.querySelectorAll('#histogram .above').length") > 0
    # A click into it sets the threshold.
    driver.find_element("id", "histogram").click()
    settle(driver)
    assert float(driver.find_element("id", "threshold").get_property("value")) != 0.9


def test_nothing_leaves_and_nothing_breaks_out(driver: Any, page: Path) -> None:
    open_page(driver, page)
    set_number(driver, 0.98)
    driver.find_element("id", "singles").click()
    wait_for(lambda: driver.find_elements("css selector", "#groups img"))
    assert driver.title == "Similar images"
    assert not driver.find_elements("css selector", "img[src=x]")
    text = driver.find_element("id", "groups").text
    assert "script><img src=x onerror" in text
    assert "caf\ufffd 100%#?.png" in text
    assert len(driver.find_elements("css selector", "#groups .card .mark")) == 1, "the name that is not UTF-8"
    # The page's own rules forbid what it does not try.
    for attempt in (
        "return fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')",
        "return new Promise((done) => { const i = new Image(); i.onload = () => done('sent');"
        " i.onerror = () => done('refused'); i.src = 'http://127.0.0.1:9/a.png'; })",
    ):
        assert driver.execute_script(attempt) == "refused"
    errors = [entry for entry in driver.get_log("browser") if "127.0.0.1" not in entry["message"]]
    assert errors == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requests = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in requests
    others = [url for url in requests if not url.startswith("data:") and url != page.as_uri()]
    assert [url for url in others if "127.0.0.1" not in url] == []


def test_filters_and_order(driver: Any, page: Path, folder: Path, run_similarity: RunSimilarity) -> None:
    open_page(driver, page)
    set_number(driver, 0.9)
    everything = groups_in_page(driver)
    assert len(everything) > 2

    search = driver.find_element("id", "search")
    search.send_keys("PICTURE2")
    found = groups_in_page(driver)
    assert found == [
        group for group in everything if b"picture2" in group[0] or any(b"picture2" in path for path, _ in group[1])
    ]
    assert 0 < len(found) < len(everything)
    assert driver.find_element("css selector", "#groups mark").text == "picture2"
    write(search, "no such name")
    assert groups_in_page(driver) == []
    assert "No group passes" in driver.find_element("id", "empty").text
    write(search, "")
    assert groups_in_page(driver) == everything

    sizes = sorted({len(members) + 1 for _, members in everything})
    smallest = driver.find_element("id", "smallest")
    write(smallest, str(sizes[-1]))
    assert groups_in_page(driver) == [group for group in everything if len(group[1]) + 1 >= sizes[-1]]
    write(smallest, "2")

    order = driver.find_element("id", "order")
    keys: dict[str, Callable[[Any], Any]] = {
        "size": lambda group: -len(group[1]),
        "similarity": lambda group: -float(group[1][0][1]),
        "bytes": lambda group: -sum(Path(os.fsdecode(path)).stat().st_size for path, _ in group[1]),
        "path": lambda group: group[0],
    }
    for value, key in keys.items():
        order.find_element("css selector", f"option[value={value}]").click()
        ordered = groups_in_page(driver)
        assert sorted(ordered) == sorted(everything)
        assert [key(group) for group in ordered] == sorted(key(group) for group in ordered), value

    driver.find_element("id", "exact").click()
    exact = groups_in_page(driver)
    # 0.999 or more is above the float32 before it.
    run = run_similarity(folder, *SMALL, "--threshold", np.nextafter(np.float32(0.999), np.float32(0)), "--json", "-")
    expected = groups_of_program(json.loads(run.stdout))
    assert expected
    assert [(first, [path for path, _ in members]) for first, members in exact] == [
        (first, [path for path, _ in members]) for first, members in expected
    ]
    assert tiles(driver)["groups"] == len(everything), "a filter changes no counts"
    driver.find_element("id", "exact").click()
    assert groups_in_page(driver) == everything


def test_images_in_no_group_and_skipped_files(
    driver: Any, page: Path, folder: Path, run_similarity: RunSimilarity
) -> None:
    open_page(driver, page)
    set_number(driver, 0.98)
    assert not driver.find_element("id", "ungrouped").is_displayed()
    driver.find_element("id", "singles").click()
    links = driver.execute_script("return [...document.querySelectorAll('#ungrouped a.name')].map((a) => a.href)")
    run = run_similarity(folder, *SMALL, "--threshold", 0.98, "--json", "-")
    expected = json.loads(run.stdout)
    grouped = {group["representative"] for group in expected["groups"]}
    grouped |= {member["path"] for group in expected["groups"] for member in group["members"]}
    alone = [os.fsencode(image["path"]) for image in expected["images"] if image["path"] not in grouped]
    assert alone
    assert [path_of(link) for link in links] == alone

    driver.find_element("css selector", "#skipped summary").click()
    text = driver.find_element("id", "skipped").text
    assert "Skipped: 2 files" in text
    for entry in expected["skipped"]:
        assert entry["path"] in text
        assert entry["reason"] in text


def test_keys_and_viewer(driver: Any, page: Path, folder: Path, run_similarity: RunSimilarity) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    open_page(driver, page)
    set_number(driver, 0.9)
    driver.execute_script("document.activeElement.blur()")

    def press(key: str) -> None:
        ActionChains(driver).send_keys(key).perform()

    def focus() -> str:
        return str(driver.execute_script("return document.activeElement.getAttribute('aria-label')"))

    press("j")
    assert focus().startswith("Group 1,")
    press("j")
    assert focus().startswith("Group 2,")
    press("k")
    assert focus().startswith("Group 1,")
    press(Keys.ARROW_RIGHT)
    press(Keys.ARROW_RIGHT)
    run = run_similarity(folder, *SMALL, "--threshold", 0.9, "--json", "-")
    member = json.loads(run.stdout)["groups"][0]["members"][0]
    # Cut off, not rounded: only equal images have 1.0000.
    assert focus().startswith("Enlarge ")
    assert focus().endswith(f", similarity {math.floor(member['similarity'] * 1e4) / 1e4:.4f}")
    outline = driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "focus must be seen"

    viewer = driver.find_element("id", "viewer")
    press(Keys.ENTER)
    assert viewer.is_displayed()
    assert len(driver.find_elements("css selector", "#viewer .pane img")) == 2
    assert driver.find_element("id", "verdict").text.startswith("2 of ")
    press(Keys.ARROW_LEFT)
    assert driver.find_element("id", "verdict").text.startswith("1 of ")
    assert len(driver.find_elements("css selector", "#viewer .pane img")) == 1
    original = path_of(driver.find_element("css selector", "#viewer .pane a").get_property("href"))
    assert Path(os.fsdecode(original)).is_file()
    press(Keys.ESCAPE)
    assert not viewer.is_displayed()
    assert focus().startswith("Enlarge "), "back where it was opened"

    press("?")
    assert driver.find_element("id", "keys").is_displayed()
    press(Keys.ESCAPE)
    press("/")
    assert driver.switch_to.active_element.get_property("id") == "search"
    press("j")
    assert driver.switch_to.active_element.get_property("value") == "j", "a letter in a field is a letter"
    press(Keys.ESCAPE)
    press("t")
    assert driver.switch_to.active_element.get_property("id") == "slider"
    press(Keys.ESCAPE)
    press("]")
    settle(driver)
    assert driver.find_element("id", "threshold").get_property("value") == "0.91"
    press("u")
    assert driver.find_element("id", "ungrouped").is_displayed()


def test_every_control_has_a_name(driver: Any, page: Path) -> None:
    open_page(driver, page)
    for element in driver.find_elements("css selector", "input, select, button, a, svg[role=img]"):
        if element.is_displayed():
            assert element.accessible_name, element.get_attribute("outerHTML")


def test_lists_to_take_away(
    driver: Any, page: Path, folder: Path, run_similarity: RunSimilarity, tmp_path: Path
) -> None:
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    open_page(driver, page)
    set_number(driver, 0.9)
    run = run_similarity(folder, *SMALL, "--threshold", 0.9, "--json", "-")
    expected = json.loads(run.stdout)

    def download(button: str, name: str) -> bytes:
        driver.find_element("id", button).click()
        file = tmp_path / name
        wait_for(lambda: file.is_file() and not list(tmp_path.glob("*.crdownload")))
        return file.read_bytes()

    saved = json.loads(download("save-json", "groups.json"))
    assert saved["filtered"] is False
    assert saved["threshold"] == 0.9
    for key in ("files", "read", "unique"):
        assert saved[key] == expected[key]
    for group in saved["groups"]:
        for member in group["members"]:
            assert np.float32(member["similarity"]) == np.float32(str(member["similarity"]))
            # Of the float itself: the shortest decimal may lie on the other side of a half.
            member["similarity"] = round(float(np.float32(member["similarity"])), 6)
    assert saved["groups"] == expected["groups"], "names that are not UTF-8 included"

    members = [os.fsencode(member["path"]) for group in expected["groups"] for member in group["members"]]
    lines = download("save-list", "redundant.txt").split(b"\n")[:-1]
    assert any(b"line\\nbreak\\\\.png" in line for line in lines)
    assert any(b"caf\xe9" in line for line in lines)
    assert [line.replace(b"\\n", b"\n").replace(b"\\\\", b"\\") for line in lines] == members

    table = download("save-csv", "groups.csv")
    assert table.startswith(b"group,path,similarity\n1,")
    assert table.count(b"picture") == sum(path.count(b"picture") for path in members) + sum(
        group["representative"].count("picture") for group in expected["groups"]
    )

    driver.find_element("id", "copy").click()
    wait_for(lambda: "Copied" in driver.find_element("id", "shown").text)
    assert f"Copied {len(members)} paths. 1 name is not UTF-8" in driver.find_element("id", "shown").text
    copied = driver.execute_script("return navigator.clipboard.readText()")
    assert copied.encode().split(b"\n")[:-1] == [line.replace(b"\xe9", "\ufffd".encode()) for line in lines]


def test_hundreds_of_groups_are_light(driver: Any, run_similarity: RunSimilarity, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(250):
        make_picture(1000 + i, 64, 48).save(photos / f"{i:03}.png")
        shutil.copy(photos / f"{i:03}.png", photos / f"{i:03}_copy.png")
    page = tmp_path / "page.html"
    run = run_similarity(photos, *SMALL, "--threshold", 0.9999, "--html", page, "--quiet")
    assert run.returncode == 0, run.stderr
    open_page(driver, page)
    assert tiles(driver)["groups"] == 250

    def count(selector: str) -> int:
        return int(driver.execute_script("return document.querySelectorAll(arguments[0]).length", selector))

    wait_for(lambda: count("#groups img"))
    assert count("#groups .group") < 250
    assert count("#groups img") < 200

    # Scrolling to the end brings the rest, and takes away pictures that are far away again.
    def at_end() -> bool:
        driver.execute_script("scrollTo(0, document.body.scrollHeight)")
        return count("#groups .group") == 250

    wait_for(at_end)
    wait_for(lambda: at_end() and count("#groups .group:last-child img") == 2)
    wait_for(lambda: count("#groups .group:first-child img") == 0)
    assert count("#groups img") < 200
    loaded = driver.execute_script(
        "return [...document.querySelectorAll('#groups .group:last-child img')].map((i) => i.naturalWidth)"
    )
    assert loaded == [64, 64]


def test_more_pairs_than_the_page_may_carry(
    driver: Any, folder: Path, run_similarity: RunSimilarity, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    run = run_similarity(folder, *SMALL, "--html", page, "--html-pairs", 20, "--json", tmp_path / "r.json")
    assert run.returncode == 0
    assert b"--html-pairs" in run.stderr
    open_page(driver, page)
    assert "--html-pairs" in driver.find_element("id", "notes").text
    # The run's own groups came along.
    check_against_program(driver, run_similarity, folder, 0.75)
    floor = driver.execute_script("return data.floor")
    assert floor > 0.75
    assert len(driver.execute_script("return data.similarity")) <= 20
    set_number(driver, 0.6)
    assert float(driver.find_element("id", "threshold").get_property("value")) == floor
    check_against_program(driver, run_similarity, folder, floor)
    driver.find_element("id", "reset").click()
    settle(driver)
    check_against_program(driver, run_similarity, folder, 0.75)


def test_the_rule_in_the_script(driver: Any, page: Path) -> None:
    open_page(driver, page)
    for seed in range(40):
        random = np.random.default_rng(seed)
        count = int(random.integers(1, 25))
        # Few different values, so that ties are everywhere; neighbours in float32 among them.
        values = [np.float32(0.6), np.nextafter(np.float32(0.6), np.float32(1)), np.float32(0.8), np.float32(0.97)]
        pairs = {
            (i, j): float(str(random.choice(values)))
            for i in range(count)
            for j in range(i + 1, count)
            if random.random() < random.choice([0.1, 0.3, 0.6])
        }
        keys = list(pairs)
        random.shuffle(keys)
        for rank in (None, random.permutation(count).tolist()):
            for threshold in (values[0], np.float32(0.5), values[2]):
                result = driver.execute_script(
                    "return groupByRepresentative(makePairs(arguments[0], arguments[1], arguments[2], arguments[3]),"
                    " arguments[4], arguments[5])",
                    count,
                    [i for i, _ in keys],
                    [j for _, j in keys],
                    [pairs[key] for key in keys],
                    float(str(threshold)),
                    rank,
                )
                groups = [(g["representative"], [m["index"] for m in g["members"]]) for g in result["groups"]]
                assert (groups, result["unique"]) == by_the_rule(count, pairs, threshold, rank), (seed, threshold, rank)


def test_both_themes_and_a_phone(driver: Any, page: Path) -> None:
    grounds = set()
    for theme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": theme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        open_page(driver, page)
        grounds.add(driver.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    open_page(driver, page)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 360, "nothing sticks out"
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_same_bytes_every_time(folder: Path, page: Path, run_similarity: RunSimilarity) -> None:
    before = page.read_bytes()
    for threads in (1, 3):
        run = run_similarity(folder, *SMALL, "--html", page, "--quiet", "--threads", threads)
        assert run.returncode == 0
        assert page.read_bytes() == before
    assert sorted(path.name for path in page.parent.iterdir()) == ["page.html"], "no temporary file stays"


def test_wrong_uses(run_similarity: RunSimilarity, folder: Path, tmp_path: Path) -> None:
    run = run_similarity(folder, *SMALL, "--html", "-")
    assert (run.returncode, run.stdout) == (2, b"")
    assert b"--html: only --json can go to standard output" in run.stderr
    run = run_similarity(folder / "picture0.png", folder / "picture1.png", "--html", tmp_path / "p.html")
    assert run.returncode == 2
    assert b"belongs to a folder" in run.stderr
    run = run_similarity(folder, *SMALL, "--html", tmp_path / "missing" / "p.html")
    assert run.returncode == 4
    assert b"cannot write here" in run.stderr
    run = run_similarity(folder, *SMALL, "--html", tmp_path / "p.html", "--html-pairs", 0)
    assert run.returncode == 2


def test_a_folder_without_images(driver: Any, run_similarity: RunSimilarity, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "notes.txt").write_text("nothing")
    page = tmp_path / "page.html"
    assert run_similarity(photos, *SMALL, "--html", page).returncode == 3
    open_page(driver, page)
    assert tiles(driver) == {"files": 1, "read": 0, "skipped": 1, "groups": 0, "unique": 0, "redundant": 0}
    assert driver.get_log("browser") == []


def test_screenshot(driver: Any, page: Path) -> None:
    target = os.environ.get("RRN_KEEP_SCREENSHOT")
    open_page(driver, page)
    wait_for(
        lambda: driver.execute_script(
            "return [...document.querySelectorAll('#groups img')].filter((i) => i.naturalWidth > 0).length"
        )
    )
    picture = driver.get_screenshot_as_png()
    assert picture.startswith(b"\x89PNG")
    if target:
        Path(target).write_bytes(picture)
