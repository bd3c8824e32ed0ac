"""The live page in a browser: its own boxes, what it says when nothing comes, and what it never does."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paho.mqtt", reason="rrn's extra watch is missing: scripts/build.sh --tests")
pytest.importorskip("starlette", reason="rrn's extra watch is missing: scripts/build.sh --tests")

from PIL import Image
from rrn_ops.streaming.connection import Broker
from rrn_ops.streaming.message import Model, Person, encode
from rrn_ops.streaming.viewer.options import ViewerOptions
from rrn_ops.streaming.viewer.server import Viewer
from watch_helpers import (
    MOSQUITTO,
    NO_BROKER,
    Mosquitto,
    Publisher,
    frame_message,
    get,
    running_broker,
    state_of,
    wait_for,
)

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason=NO_BROKER)
HOW = "apt-get install chromium chromium-driver; pip install selenium; RRN_NO_BROWSER=1 leaves these tests out"
YELLOW, WHITE = (255, 212, 59), (255, 255, 255)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser without a window. It fails where it is missing, because a page that was not opened is not tested."""
    if os.environ.get("RRN_NO_BROWSER") == "1":
        pytest.skip("RRN_NO_BROWSER=1")
    webdriver = pytest.importorskip("selenium.webdriver", reason=HOW)
    browser, service = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    assert browser is not None, HOW
    assert service is not None, HOW
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    yield made
    made.quit()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_broker(tmp_path) as running:
        yield running


@pytest.fixture
def running(broker: Mosquitto) -> Iterator[Viewer]:
    with Viewer(ViewerOptions(broker=Broker(port=broker.port), port=0)) as made:
        wait_for(lambda: state_of(made.url)["broker"]["connected"], "the viewer's subscription")
        yield made


@pytest.fixture
def publisher(broker: Mosquitto) -> Iterator[Publisher]:
    made = Publisher(broker.port)
    yield made
    made.close()


@pytest.fixture
def page(driver: Any, running: Viewer) -> Iterator[Any]:
    """The page, opened; at its end nothing went wrong in it and nothing was asked of another host."""
    resize(driver, 1280, 1000)
    colours(driver, "light")
    driver.get_log("browser")
    driver.get_log("performance")
    driver.get(running.url)
    yield driver
    errors = [entry for entry in driver.get_log("browser") if "WebSocket connection to" not in entry["message"]]
    asked = requests(driver)
    driver.get("about:blank")
    assert errors == []
    assert asked
    host = running.url.removeprefix("http://")
    assert [url for url in asked if not url.startswith((f"http://{host}", f"ws://{host}", f"blob:http://{host}"))] == []


def requests(driver: Any) -> list[str]:
    """The addresses that the page asked for."""
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            found.append(message["params"]["url"])
    return found


def resize(driver: Any, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def colours(driver: Any, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def text(driver: Any, selector: str) -> str:
    return str(driver.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def shown(driver: Any) -> int:
    return int(driver.execute_script("return document.getElementById('picture').dataset.frame ?? 0"))


def state(driver: Any) -> str:
    return str(driver.execute_script("return document.getElementById('stage').dataset.state"))


def pixels(driver: Any) -> tuple[int, Image.Image]:
    """The number of the frame on the canvas and the canvas, read at the same moment."""
    script = """
        const canvas = document.getElementById("picture");
        return [canvas.dataset.frame, canvas.toDataURL("image/png").split(",")[1]];"""
    frame, content = driver.execute_script(script)
    return int(frame), Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")


def near(found: Any, expected: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 40 for a, b in zip(found, expected, strict=True))


def edge(image: Image.Image, box: tuple[float, float, float, float], share: float) -> list[Any]:
    """The colours across the left edge of a box, at a share of its height."""
    scale = image.width / 427
    y = round((box[1] + share * (box[3] - box[1])) * scale)
    x = round(box[0] * scale)
    return [image.getpixel((column, y)) for column in range(max(0, x - 2), x + 3)]


def test_the_boxes_are_those_of_the_picture(page: Any, publisher: Publisher) -> None:
    boxes = []
    for number in (1, 2, 3):
        message = publisher.frame()
        wait_for(lambda wanted=number: shown(page) == wanted, f"frame {number}")
        frame, image = pixels(page)
        assert frame == number
        main, other = message.people
        # The yellow box of the main person and the white one of the other, where the message has them.
        assert any(near(colour, YELLOW) for colour in edge(image, main.box, 0.5))
        assert any(near(colour, WHITE) for colour in edge(image, other.box, 0.5))
        # The picture below them: the main person's own shirt.
        scale = image.width / 427
        middle = ((main.box[0] + main.box[2]) / 2 * scale, (main.box[1] + 0.6 * (main.box[3] - main.box[1])) * scale)
        assert near(image.getpixel((round(middle[0]), round(middle[1]))), (40, 92, 160))
        boxes.append(main.box)
    assert len(set(boxes)) == 3


def test_predicted_boxes_are_dashed(page: Any, publisher: Publisher) -> None:
    rates = []
    for number, source in ((1, "detected"), (2, "tracked")):
        publisher.changes = {"source": source}
        box = publisher.frame().people[0].box
        wait_for(lambda wanted=number: shown(page) == wanted, source)
        _, image = pixels(page)
        steps = [share / 100 for share in range(5, 95)]
        rates.append(sum(any(near(colour, YELLOW) for colour in edge(image, box, share)) for share in steps) / 90)
    assert rates[0] == 1
    assert 0.3 < rates[1] < 0.9


def test_what_the_page_says(page: Any, publisher: Publisher) -> None:
    publisher.start()
    wait_for(lambda: state(page) == "live", "a live picture")
    wait_for(lambda: text(page, "#people .main .who") == "Main person, number 1", "the main person")
    assert text(page, "#people-count") == "2"
    wait_for(lambda: "number 1" in text(page, "#announcer"), "the announcement")
    wait_for(lambda: "–" not in text(page, "#stages tr[data-stage=end_to_end]"), "the whole latency")
    assert "18.5" in text(page, "#stages tr[data-stage=detect]")
    assert float(text(page, "#tiles [data-key=fps] dd")) > 1
    signs = page.execute_script("return [...document.querySelectorAll('#signs li')].map((sign) => sign.textContent)")
    assert signs == ["Viewer connected", "Broker connected", "Camera online", "Live"]
    assert text(page, "#drops [data-key=replaced] dd") == "3"
    publisher.stop()
    publisher.changes = {"main": None, "main_since": None}
    publisher.start()
    wait_for(lambda: text(page, "#announcer") == "Nobody is the main person.", "the announcement")
    assert text(page, "#tiles [data-key=main] dd") == "nobody"


def test_a_picture_that_has_stopped_does_not_look_live(page: Any, publisher: Publisher) -> None:
    publisher.start()
    wait_for(lambda: state(page) == "live", "a live picture")
    publisher.stop()
    wait_for(lambda: state(page) == "stale", "the mark")
    assert text(page, "#veil").startswith("no picture for ")
    assert text(page, "#signs [data-sign=picture]") == "Stalled"
    assert page.execute_script("return getComputedStyle(document.getElementById('picture')).filter") != "none"
    # A page that is opened now gets the old picture, and marks it at once.
    page.refresh()
    wait_for(lambda: shown(page) > 0, "the old picture")
    wait_for(lambda: state(page) == "stale", "the mark")
    publisher.start()
    wait_for(lambda: state(page) == "live", "a live picture again")
    assert text(page, "#veil") == ""


def test_a_picture_that_is_late_does_not_look_live(page: Any, publisher: Publisher) -> None:
    publisher.changes = {"captured_ns": time.monotonic_ns() - 9_000_000_000}
    publisher.start()
    wait_for(lambda: state(page) == "late", "the mark")
    assert text(page, "#veil").endswith(" late")


def test_the_broker_dies_and_the_page_recovers(page: Any, publisher: Publisher, broker: Mosquitto) -> None:
    publisher.start()
    wait_for(lambda: state(page) == "live", "a live picture")
    broker.kill()
    wait_for(lambda: text(page, "#signs [data-sign=broker]") == "Broker away", "the sign")
    wait_for(lambda: state(page) == "stale", "the mark")
    broker.start()
    # What the page is promised, without anybody's help.
    wait_for(lambda: state(page) == "live", "a live picture", 5.0)
    assert text(page, "#signs [data-sign=broker]") == "Broker connected"


def test_the_viewer_goes_and_comes_back(driver: Any, broker: Mosquitto, publisher: Publisher) -> None:
    publisher.start()
    with Viewer(ViewerOptions(broker=Broker(port=broker.port), port=0)) as first:
        port = int(first.url.rstrip("/").rpartition(":")[2])
        driver.get(first.url)
        wait_for(lambda: state(driver) == "live", "a live picture")
    wait_for(lambda: text(driver, "#signs [data-sign=viewer]").startswith("Viewer away"), "the sign")
    with Viewer(ViewerOptions(broker=Broker(port=broker.port), port=port)):
        wait_for(lambda: state(driver) == "live", "a live picture again")
        driver.get("about:blank")


MARKUP = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


def test_texts_of_messages_are_no_markup(page: Any, publisher: Publisher) -> None:
    publisher.changes = {"model": Model(MARKUP, "</figcaption><b>", "&lt;"), "clock": "<i>" * 20}
    publisher.start()
    wait_for(lambda: MARKUP in text(page, "#caption"), "the text")
    publisher.raw(f"rrn/{MARKUP.replace('/', '')}/frame", encode(frame_message(1)))
    publisher.raw("rrn/front/frame", MARKUP.encode())
    wait_for(lambda: "2 messages not taken" in text(page, "#footer"), "the count")
    assert page.title == "Watching people"
    assert page.execute_script("return document.querySelectorAll('img, b, i, body script').length") == 0


def test_many_people_and_odd_boxes(page: Any, publisher: Publisher) -> None:
    odd = [Person(k, (-1e6, -1e6, 1e6, 1e6) if k % 2 else (50.0, 50.0, 10.0, 10.0), 0.5) for k in range(1000)]
    publisher.changes = {"people": odd, "main": 7, "main_since": 1e300}
    publisher.start(3)
    wait_for(lambda: text(page, "#people-count") == "1000", "the people")
    wait_for(lambda: "950 more" in text(page, "#people"), "the end of the list")
    wait_for(lambda: state(page) == "live", "a live picture")


def test_pause_by_the_keyboard(page: Any, publisher: Publisher) -> None:
    from selenium.webdriver.common.keys import Keys

    publisher.start()
    wait_for(lambda: state(page) == "live", "a live picture")
    button = page.find_element("id", "pause")
    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys(Keys.SPACE)
    wait_for(lambda: state(page) == "paused", "the pause")
    assert button.get_attribute("aria-pressed") == "true"
    # What was on its way when the pause began may still arrive; afterwards nothing does.
    wait_for(
        lambda: state_of(page.current_url)["frames"]["front"]["frame"] > shown(page) + 5, "frames that are not shown"
    )
    held = shown(page)
    wait_for(lambda: state_of(page.current_url)["frames"]["front"]["frame"] > held + 10, "frames that are not shown")
    assert shown(page) == held
    page.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(lambda: shown(page) > held + 5, "the next frames")
    wait_for(lambda: state(page) == "live", "a live picture")


def test_cameras_are_chosen(page: Any, publisher: Publisher, broker: Mosquitto) -> None:
    from selenium.webdriver.support.ui import Select

    other = Publisher(broker.port, "garden")
    try:
        publisher.start()
        wait_for(lambda: state(page) == "live", "a live picture")
        other.start()
        wait_for(lambda: page.find_element("id", "camera").is_displayed(), "the list")
        Select(page.find_element("id", "camera")).select_by_value("garden")
        wait_for(lambda: text(page, "#where") == "garden", "the other camera")
        wait_for(lambda: state(page) == "live", "a live picture")
    finally:
        other.close()


@pytest.mark.parametrize(
    ("scheme", "width", "height"),
    [("light", 1280, 1000), ("dark", 1280, 1000), ("light", 360, 740), ("dark", 360, 740)],
)
def test_colours_and_sizes(
    scheme: str, width: int, height: int, page: Any, publisher: Publisher, tmp_path: Path
) -> None:
    colours(page, scheme)
    resize(page, width, height)
    publisher.start()
    wait_for(lambda: state(page) == "live", "a live picture")
    wait_for(lambda: text(page, "#people .main .who"), "the list")
    overflow = page.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(246, 247, 249)", "dark": "rgb(17, 20, 26)"}[scheme]
    file = tmp_path / f"page_{scheme}_{width}.png"
    assert page.save_screenshot(str(file))
    with Image.open(file) as image:
        assert image.size == (width, height)


def test_every_control_has_a_name(page: Any, publisher: Publisher) -> None:
    publisher.start()
    wait_for(lambda: state(page) == "live", "a live picture")
    wait_for(
        lambda: page.execute_script("return document.getElementById('history').getAttribute('aria-label')"), "the chart"
    )
    wait_for(lambda: text(page, "#people-count") == "2", "the people")
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    names = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"] and "role" in node
    }
    assert {("button", "Pause"), ("heading", "People 2"), ("link", "Skip to the list of people")} <= names
    unnamed = [role for role, name in names if role in ("button", "combobox", "image", "link") and not name.strip()]
    assert unnamed == []
    assert page.execute_script("return document.documentElement.lang") == "en"
    assert get(page.current_url, "/healthz")[0] == 200
