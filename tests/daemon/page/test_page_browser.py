"""The page in Chromium: every view, the keyboard, and names that are code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pages import CHROMIUM, PageProcess
from running import Daemon
from sounds import write_wav

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")

HOSTILE = "<img src=x onerror=alert(1)>.wav"
VIEWS = ("now", "day", "label", "review", "health")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageProcess]:
    base = tmp_path_factory.mktemp("browser")
    listening = Daemon(base).start()
    for number in range(4):
        write_wav(listening.folder / f"sound-{number}.wav", seconds=3 + number / 10)
    write_wav(listening.folder / HOSTILE)
    (listening.folder / "notes.wav").write_text("no sound")
    listening.ends(6)
    made = PageProcess(base, listening).start()
    made.predictions(5)
    yield made
    made.clean_up()
    listening.clean_up()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible_and_quiet(
    page: PageProcess, browser: object, scheme: str
) -> None:
    """No error in the console, no dialogue, no request elsewhere, no violation that axe finds."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 900})  # type: ignore[attr-defined]
    problems: list[str] = []
    tab.on("console", lambda m: problems.extend([m.text] if m.type == "error" else []))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("dialog", lambda dialog: problems.append(f"a dialogue: {dialog.message}"))
    own = page.url, "data:"
    tab.on("request", lambda r: problems.extend([] if r.url.startswith(own) else [r.url]))
    for view in VIEWS:
        tab.goto(f"{page.url}/#/{view}")
        tab.get_by_role("heading", name=view.capitalize(), exact=True).wait_for()
        tab.wait_for_load_state("networkidle") if view != "now" else None
        found = axe.Axe().run(tab, options={"runOnly": ["wcag2a", "wcag2aa"]})
        problems += [f"{view}: {each['id']}" for each in found.response["violations"]]
    assert problems == []
    tab.close()


def test_a_view_is_a_link_and_fits_a_phone(page: PageProcess, browser: object) -> None:
    tab = browser.new_page(viewport={"width": 390, "height": 800})  # type: ignore[attr-defined]
    tab.goto(f"{page.url}/#/day?text=sound-2")
    tab.locator("tbody tr[data-number]").first.wait_for()
    assert tab.locator("tbody tr[data-number]").count() == 1
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.close()


def test_a_name_that_is_code_is_shown_as_text(page: PageProcess, browser: object) -> None:
    tab = browser.new_page()  # type: ignore[attr-defined]
    tab.goto(f"{page.url}/#/day?text=onerror")
    tab.get_by_text(HOSTILE).first.wait_for()
    assert tab.locator("img[src=x]").count() == 0
    tab.close()


def test_reviewing_by_keyboard_alone(page: PageProcess, browser: object) -> None:
    tab = browser.new_page()  # type: ignore[attr-defined]
    tab.goto(f"{page.url}/#/review")
    panel = tab.locator("section[data-number]")
    panel.wait_for()
    first = panel.get_attribute("data-number")
    tab.keyboard.press("r")
    tab.get_by_text("1 reviewed now.").wait_for()
    assert panel.get_attribute("data-number") != first
    assert page.get(f"predictions/{first}")["verdict"] == "right"
    tab.keyboard.press("u")
    tab.get_by_text("0 reviewed now.").wait_for()
    assert page.get(f"predictions/{first}")["verdict"] is None
    tab.close()


def test_what_is_dropped_appears_and_plays(page: PageProcess, browser: object) -> None:
    tab = browser.new_page()  # type: ignore[attr-defined]
    tab.goto(f"{page.url}/#/now")
    strip = tab.locator(".strip button")
    tab.get_by_text("Live.").wait_for()
    strip.first.wait_for()
    before = strip.count()
    write_wav(page.store.parent / "in" / "dropped.wav")
    playwright.expect(strip).to_have_count(before + 1)
    length = "document.querySelector('audio').duration"
    tab.evaluate("document.querySelector('audio').load()")
    page.wait_for(lambda: (tab.evaluate(length) or 0) > 0, "loaded")
    tab.close()
