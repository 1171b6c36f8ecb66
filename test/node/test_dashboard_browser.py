"""The dashboard in a real browser, with a real node, guard and robot in a small world.

SIMPLE_CLIP_LSTM_SCREENSHOTS names a folder for the pictures of the documentation; else they go where pytest's do.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from dashboard_world import World, until
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = playwright.expect
expect.set_options(timeout=15_000)  # ms
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on PATH: install chromium or google-chrome"),
]

ROOT = Path(__file__).parents[2]
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
LEFT = "go around the left side of the box and reach the cup"
MARKUP = "<img src=x onerror=\"document.title='taken'\"><b>bold</b>"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as cleanup:
        yield World(tmp_path_factory.mktemp("stage"), cleanup)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(world: World, browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page, which has nothing to complain of at the end."""
    complaints: list[str] = []
    contexts = []

    def visit(**viewport: int) -> Any:
        contexts.append(browser.new_context(viewport=viewport, device_scale_factor=1))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(world.address)
        expect(page.locator("#link")).to_have_text("connected")
        return page

    yield visit
    for context in contexts:
        context.close()
    # That a server which has ended refuses connections, Chromium says by itself.
    assert not [complaint for complaint in complaints if "ERR_CONNECTION_REFUSED" not in complaint]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(os.environ.get("SIMPLE_CLIP_LSTM_SCREENSHOTS", tmp_path))


def enable(page: Any) -> None:
    """By what a person does: press, and again where the page says that a node is not there (yet)."""

    def agreed() -> bool:
        page.click("#enable")
        expect(page.locator("#answers p")).to_have_count(2)
        return page.locator("#answers .good").count() == 2

    until(agreed, "both nodes' consent")


def drive(world: World, page: Any, text: str = LEFT) -> None:
    """By what a person does: enable, type, send."""
    world.reset()
    enable(page)
    page.fill("#text", text)
    page.press("#text", "Enter")
    page.locator("#text").blur()
    expect(page.locator("#instruction")).to_have_text(text)
    until(world.is_moving, "motion")


def wait_for_answer(page: Any) -> float:
    """When the guard's answer to a stop was on the page, in seconds of the wall clock."""
    return page.evaluate(
        """() => new Promise((tell) => {
            const look = () => {
                if (document.querySelector('#answers').textContent.includes('guard: disabled')) tell(Date.now() / 1000);
                else setTimeout(look, 2);
            };
            look();
        })"""
    )


@pytest.mark.parametrize("press", ["click", "key"])
def test_an_instruction_moves_the_robot_and_stop_stops_it(world: World, visit: Any, press: str) -> None:
    page = visit(**DESKTOP)
    drive(world, page)
    expect(page.locator("#guard-reason")).to_have_text("FORWARDING")
    pressed = time.time()
    if press == "click":
        page.click("#stop")
    else:
        page.keyboard.press("Space")
    answered = wait_for_answer(page)
    until(lambda: world.commands[-1][0] > answered + 0.5, "half a second")
    after = [moves for at, moves in world.commands if at > answered + 0.1]
    assert len(after) > 5 and not any(after)
    # Much of that is this test's and the browser's driver's; the figure is that of benchmarks/dashboard.py.
    assert answered - pressed < 1.5
    expect(page.locator("#guard-reason")).to_have_text("DISABLED")
    assert "inference: disabled" in page.text_content("#answers")
    world.stage.spin_for(0.1)


def test_the_overlay_is_shown_while_the_model_looks_and_the_camera_while_it_does_not(world: World, visit: Any) -> None:
    page = visit(**DESKTOP)
    drive(world, page)
    expect(page.locator("#source")).to_contain_text("Overlay")
    page.click("#clear")
    expect(page.locator("#source")).to_contain_text("Camera")
    expect(page.locator("#nothing")).to_be_hidden()


def test_a_page_that_freezes_or_closes_changes_nothing(world: World, visit: Any) -> None:
    page, other = visit(**DESKTOP), visit(**PHONE)
    drive(world, page)
    frozen = time.time()
    page.evaluate("() => { const begin = Date.now(); while (Date.now() - begin < 2000); }")
    page.close()
    until(lambda: world.commands[-1][0] > frozen + 3.0, "three seconds")
    meanwhile = [at for at, moves in world.commands if at > frozen and moves]
    assert max(after - before for before, after in itertools.pairwise(meanwhile)) < 0.5
    other.click("#stop")
    wait_for_answer(other)


def test_markup_is_text(world: World, visit: Any) -> None:
    page = visit(**DESKTOP)
    enable(page)
    page.fill("#text", MARKUP)
    page.press("#text", "Enter")
    expect(page.locator("#instruction")).to_have_text(MARKUP)
    assert world.instructions[-1] == MARKUP
    assert page.locator("img").count() == 0 and "taken" not in page.title()
    page.click("#clear")
    page.click("#stop")
    wait_for_answer(page)


def test_on_a_phone_stop_is_always_in_view_and_large(world: World, visit: Any, folder: Path) -> None:
    page = visit(**PHONE)
    drive(world, page)
    for at in ("0", "document.body.scrollHeight"):
        page.evaluate(f"window.scrollTo(0, {at})")
        box = page.locator("#stop").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= PHONE["height"]
        assert box["width"] > 0.9 * PHONE["width"] and box["height"] >= 70
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], "nothing sticks out"
    page.evaluate("window.scrollTo(0, 0)")
    time.sleep(2.0)  # of pictures
    keep(page.screenshot(), folder / "phone.png")
    page.click("#stop")
    wait_for_answer(page)


def test_a_picture_of_a_drive(world: World, visit: Any, folder: Path) -> None:
    page = visit(**DESKTOP)
    drive(world, page)
    expect(page.locator("#source")).to_contain_text("Overlay")
    time.sleep(6.0)  # for the plots to have something to show
    keep(page.screenshot(full_page=True), folder / "desktop.png")
    page.click("#stop")
    wait_for_answer(page)


def keep(screenshot: bytes, path: Path) -> None:
    """In few colours, of which such a page has no more: a third of the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shot = Image.open(io.BytesIO(screenshot)).convert("RGB")
    shot.quantize(256, Image.Quantize.FASTOCTREE).save(path, optimize=True)
    assert path.stat().st_size < 200_000


def test_it_says_loudly_who_does_not_answer_and_that_the_connection_is_lost(
    world: World, visit: Any, folder: Path
) -> None:
    """And that a stop which could not be sent is sent when the connection is back."""
    page = visit(**DESKTOP)
    drive(world, page)
    guard = world.stage.pid("velocity_guard")
    os.kill(guard, signal.SIGSTOP)
    try:
        page.click("#stop")
        expect(page.locator("#answers .bad").first).to_contain_text("GUARD DOES NOT ANSWER")
        keep(page.locator("aside").screenshot(), folder / "no_answer.png")
    finally:
        os.kill(guard, signal.SIGCONT)
    wait_for_answer(page)  # asked again, it has stopped
    enable(page)
    (process,) = psutil.Process(world.dashboard.pid).children()
    process.suspend()
    try:
        page.click("#stop")
        expect(page.locator("#answers")).to_contain_text("THE DASHBOARD DOES NOT ANSWER")
    finally:
        process.resume()
    wait_for_answer(page)
    world.dashboard.terminate()
    assert world.dashboard.wait(10) == 0
    expect(page.locator("#lost")).to_contain_text("CONNECTION LOST")
    page.click("#stop")
    expect(page.locator("#answers")).to_contain_text("NOT SENT")
    world.dashboard = world.start_dashboard()
    wait_for_answer(page)
    expect(page.locator("#lost")).to_be_hidden()
