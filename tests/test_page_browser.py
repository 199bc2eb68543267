"""The page of `--report` in a real browser, opened as a file: what a click sorts and a word filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from agedetect_runtime.cli import main
from browser import Browser, chromium
from tiny_models import write_tiny_model

pytestmark = pytest.mark.external

HOSTILE = "<img src=x onerror=document.title='run'>.png"
LEVELS = {"10.png": 100, "9.png": 20, HOSTILE: 60, "z.png": 100}  # ages 36, 8, 22 and 36
SHOWN = "Array.from(document.querySelectorAll('#rows tbody tr:not([hidden])'), row => row.cells[1].textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of four images, one of them named like markup, and a failure."""
    folder = tmp_path_factory.mktemp("page")
    for name, level in LEVELS.items():
        Image.new("RGB", (40, 40), (level,) * 3).save(folder / name)
    (folder / "empty.jpg").touch()
    model = write_tiny_model(folder / "age.onnx", coverage=0.9)
    listed = "".join(f"{folder}/{name}\n" for name in [*LEVELS, "empty.jpg"])
    arguments = ["-", "--onnx", str(model), "--report", str(folder / "page.html")]
    assert CliRunner().invoke(main, arguments, input=listed).exit_code == 0
    return folder / "page.html"


@pytest.fixture
def browser(page: Path) -> Iterator[Browser]:
    with chromium() as opened:
        opened.open(page.as_uri())
        yield opened


def shown(browser: Browser) -> list[str]:
    return [Path(name).name for name in browser.evaluate(SHOWN)]


def head(name: str) -> str:
    place = {"file": 2, "age": 3}[name]
    return f"#rows th:nth-child({place}) button"


def test_a_click_on_a_head_sorts_and_a_second_one_reverses(browser: Browser) -> None:
    browser.click(head("age"))
    assert shown(browser) == ["9.png", HOSTILE, "10.png", "z.png", "empty.jpg"]  # equal ages stay in their order
    browser.click(head("age"))
    assert shown(browser) == ["10.png", "z.png", HOSTILE, "9.png", "empty.jpg"]  # what has no age stays last
    browser.click(head("file"))
    assert shown(browser).index("9.png") < shown(browser).index("10.png")  # by number, as people count
    assert browser.evaluate("document.querySelector('th[aria-sort]').textContent") == "file"


def test_a_word_an_age_and_a_bar_filter(browser: Browser) -> None:
    browser.click("#text")
    browser.type("EMPTY FILE")
    assert shown(browser) == ["empty.jpg"]
    assert browser.evaluate("document.getElementById('shown').textContent") == "1 of 5 rows"
    browser.click("button[type=reset]")
    browser.evaluate("new Promise(done => setTimeout(done, 50))")
    assert len(shown(browser)) == 5
    browser.click("#from")
    browser.type("20")
    assert shown(browser) == ["10.png", HOSTILE, "z.png"]
    browser.click(".bars button[data-from='5']")
    assert shown(browser) == ["9.png"]


def test_the_page_asks_for_nothing_and_runs_nothing_but_its_own(browser: Browser, page: Path) -> None:
    browser.evaluate("new Promise(done => setTimeout(done, 200))")
    asked = [
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    told = [event for event in browser.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
    assert told == []  # of a thing that its security policy refused, too
    assert browser.evaluate("document.title") == "Ages of 5 images"
    widths = browser.evaluate("Array.from(document.images, image => image.naturalWidth)")
    assert widths == [72] * 4
