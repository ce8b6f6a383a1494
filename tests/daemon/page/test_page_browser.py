"""The page in Chromium: every view, the keyboard, and names that are code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import CHROMIUM, PageProcess
from running import Daemon
from sounds import write_wav

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")

HOSTILE = "<img src=x onerror=alert(1)>.wav"
NOWHERE = "--connect=ipc:///nowhere/p,ipc:///nowhere/r"
VIEWS = ("now", "day", "label", "review", "health")
playwright.expect.set_options(timeout=60_000)  # ms, for a busy machine


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


def on_the_day_of(tab: Any, page: PageProcess) -> None:
    """Today is the day of the sounds, even if midnight has passed since, here or in a zone."""
    tab.clock.set_fixed_time(page.get("predictions", text="sound-1")[0]["at"] / 1000)


def test_a_view_is_a_link_and_fits_a_phone(page: PageProcess, browser: object) -> None:
    tab = browser.new_page(viewport={"width": 390, "height": 800})  # type: ignore[attr-defined]
    on_the_day_of(tab, page)
    tab.goto(f"{page.url}/#/day?text=sound-2")
    tab.locator("tbody tr[data-number]").first.wait_for()
    assert tab.locator("tbody tr[data-number]").count() == 1
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert tab.evaluate(fits)
    assert tab.locator("td audio").bounding_box()["width"] >= 200  # it has a button to play
    tab.evaluate("document.documentElement.style.fontSize = '200%'")  # for weak eyes
    assert tab.evaluate(fits)
    tab.goto(f"{page.url}/#/now")
    tab.locator(".top meter").first.wait_for()
    assert tab.evaluate(fits)
    tab.close()


@pytest.mark.parametrize(
    ("link", "heading"),
    [("day?day=nonsense", "Day"), ("day?day=2026-13-45", "Day"), ("constructor", "Now")],
)
def test_a_broken_link_shows_a_view(
    page: PageProcess, browser: object, link: str, heading: str
) -> None:
    tab = browser.new_page()  # type: ignore[attr-defined]
    tab.goto(f"{page.url}/#/{link}")
    tab.get_by_role("heading", name=heading, exact=True).wait_for()
    tab.close()


def test_a_name_that_is_code_is_shown_as_text(page: PageProcess, browser: object) -> None:
    tab = browser.new_page()  # type: ignore[attr-defined]
    on_the_day_of(tab, page)
    tab.goto(f"{page.url}/#/day?text=onerror")
    tab.get_by_text(HOSTILE).first.wait_for()
    assert tab.locator("img[src=x]").count() == 0
    tab.close()


def test_a_picture_is_kept_for_its_message_alone(page: PageProcess, browser: object) -> None:
    """A browser keeps it for a day, in which another store may give the number to another one."""
    tab = browser.new_page()  # type: ignore[attr-defined]
    with tab.expect_response("**/picture.png*") as asked:
        tab.goto(f"{page.url}/#/review")
    address = asked.value.url
    assert "max-age" in asked.value.headers["cache-control"]
    number = address.split("/")[-2]
    assert address.endswith(f"/picture.png?of={page.get(f'predictions/{number}')['id']}")
    tab.close()


def test_reviewing_by_keyboard_alone(page: PageProcess, browser: object) -> None:
    tab = browser.new_page()  # type: ignore[attr-defined]
    tab.goto(f"{page.url}/#/review")
    panel = tab.locator("section[data-number]")
    panel.wait_for()
    first = panel.get_attribute("data-number")
    tab.keyboard.press("r")
    tab.get_by_text("Reviewed just now: 1.").wait_for()
    assert panel.get_attribute("data-number") != first
    assert page.get(f"predictions/{first}")["verdict"] == "right"
    tab.keyboard.press("u")
    tab.get_by_text("Reviewed just now: 0.").wait_for()
    assert page.get(f"predictions/{first}")["verdict"] is None
    tab.keyboard.press("Shift+R")  # as with caps lock
    tab.get_by_text("Reviewed just now: 1.").wait_for()
    for _ in range(3):  # held down, it is one review
        tab.keyboard.down("w")
    tab.keyboard.up("w")
    tab.get_by_text("Reviewed just now: 2.").wait_for()
    assert [each["verdict"] for each in page.get("reviews")] == ["wrong", "right"]
    for left in (1, 0):
        tab.keyboard.press("u")
        tab.get_by_text(f"Reviewed just now: {left}.").wait_for()
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


NOTE_PICTURES = """
window.seen = {};
window.all = (count) => new Promise((done) => {
  window.look = () => Object.keys(seen).length >= count && done(seen);
});
document.addEventListener('load', ({ target }) => {
  const number = target.closest?.('[data-number]')?.dataset.number;
  if (number && target.naturalWidth === 64) window.seen[number] ??= Date.now();
  window.look?.();
}, true);
"""
PLAY = """(number) => new Promise((done) => {
  const audio = new Audio(`api/v1/predictions/${number}/sound.wav`);
  audio.muted = true;
  audio.onended = () => done(audio.duration);
  audio.onerror = () => done(null);
  audio.oncanplay = () => {
    audio.oncanplay = null;
    audio.currentTime = audio.duration - 0.1;
    audio.play();
  };
})"""


def test_originals_are_seen_and_heard(
    browser: object, originals: list[Path], tmp_path: Path
) -> None:
    """All 25 at once, each with its message: no request asks for a row or a picture.

    How long each picture takes from its message on is printed.
    """
    listening = Daemon(tmp_path, env={"TINYAST_PICTURES__PUBLISH": "true"}).start()
    page = PageProcess(tmp_path, listening).start()
    try:
        tab = browser.new_page(viewport={"width": 3_000, "height": 900})  # type: ignore[attr-defined]
        tab.add_init_script(NOTE_PICTURES)
        tab.goto(f"{page.url}/#/now")
        tab.get_by_text("Live.").wait_for()
        page.wait_for(lambda: page.get("daemons")[0]["state"] == "running", "following")
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        for path in originals:
            shutil.copy(path, listening.folder)
        seen = {int(number): at for number, at in tab.evaluate("all(25)").items()}
        rows = page.predictions(len(originals))
        assert sorted(Path(row["path"]).name for row in rows) == [each.name for each in originals]
        playwright.expect(tab.locator(".strip button")).to_have_count(len(originals))
        late = sorted(seen[row["number"]] - row["published"] for row in rows)
        print(f"pictures after their messages: {late[len(late) // 2]} ms (median), {late[-1]} ms")
        assert [url for url in asked if "picture" in url or "now" in url] == []
        for row in rows:
            assert tab.evaluate(PLAY, row["number"]) == pytest.approx(5.0, abs=0.01), row["path"]
        tab.close()
    finally:
        page.clean_up()
        listening.clean_up()


def test_a_threshold_is_moved_by_mouse_and_keyboard(page: PageProcess, browser: object) -> None:
    tab = browser.new_page()  # type: ignore[attr-defined]
    label = page.get("predictions", limit=1)[0]["label"]
    events = page.get("scores", label=label, days=60, threshold=0)["events"]
    tab.goto(f"{page.url}/#/label?label={label}")
    slider = tab.get_by_role("slider")
    playwright.expect(slider).to_have_attribute("aria-valuenow", "0.75")  # the daemon's own
    slider.focus()
    tab.keyboard.press("Home")
    playwright.expect(slider).to_have_attribute("aria-valuenow", "0.00")
    playwright.expect(tab.locator("[data-events]")).to_have_attribute("data-events", str(events))
    tab.keyboard.press("ArrowRight")
    playwright.expect(tab.locator("pre")).to_have_text(
        f'[decision.thresholds]\n"{label}" = 0.01', use_inner_text=True
    )
    box = slider.bounding_box()
    tab.mouse.move(box["x"] + 5, box["y"] + 50)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50, steps=3)
    tab.mouse.up()
    playwright.expect(slider).to_have_attribute("aria-valuenow", "0.50")
    assert tab.url.endswith("threshold=0.50")
    tab.reload()  # the view is a link
    playwright.expect(slider).to_have_attribute("aria-valuenow", "0.50")
    tab.close()


def test_a_day_is_filtered_and_its_link_shows_the_same(page: PageProcess, browser: object) -> None:
    tab = browser.new_page()  # type: ignore[attr-defined]
    on_the_day_of(tab, page)
    tab.goto(f"{page.url}/#/day")
    tab.get_by_label("File name contains").fill("sound-1")
    tab.get_by_label("Lowest score").fill("0")
    tab.get_by_label("Time zone").fill("Asia/Tokyo")
    tab.get_by_role("button", name="Show").click()
    rows = tab.locator("tbody tr[data-number]")
    playwright.expect(rows).to_have_count(1)
    shown = rows.first.inner_text()
    export = tab.get_by_role("link", name="JSONL").get_attribute("href")
    assert page.http.get(f"/{export}").text.count("\n") == 1
    tab.get_by_label("Join neighbouring windows").check()
    for name in ("Kaleidoscope", "Audacity, a track for each recording"):
        with tab.expect_download() as download:
            tab.get_by_role("link", name=name).click()
        assert "join=true" in download.value.url
        assert download.value.failure() is None
    other = browser.new_context().new_page()  # type: ignore[attr-defined]
    other.goto(tab.url)
    playwright.expect(other.locator("tbody tr[data-number]")).to_have_count(1)
    assert other.locator("tbody tr[data-number]").first.inner_text() == shown
    with tab.expect_download() as download:
        tab.get_by_role("link", name="Download").first.click()
    assert download.value.suggested_filename.endswith(".wav")
    tab.close()
    other.context.close()


def test_a_review_is_taken_back_later(page: PageProcess, browser: object) -> None:
    tab = browser.new_page()  # type: ignore[attr-defined]
    tab.goto(f"{page.url}/#/review")
    tab.get_by_label("Another label, known or new").fill("kettle")
    tab.get_by_role("button", name="Save").click()
    tab.get_by_text("Reviewed just now: 1.").wait_for()
    (review,) = page.get("reviews")
    assert (review["verdict"], review["label"]) == ("other", "kettle")
    # The keyboard goes on from where it was: in the panel, or at the button that was pressed.
    assert tab.evaluate("document.activeElement.matches('section[data-number]')")
    tab.get_by_role("button", name="Wrong").focus()
    tab.keyboard.press("Enter")
    tab.get_by_text("Reviewed just now: 2.").wait_for()
    playwright.expect(tab.get_by_role("button", name="Wrong")).to_be_focused()
    tab.keyboard.press("u")
    tab.get_by_text("Reviewed just now: 1.").wait_for()
    tab.reload()
    tab.get_by_role("button", name="Take back").click()
    tab.get_by_text("Latest reviews").wait_for(state="detached")
    assert page.get("reviews") == []
    tab.close()


def test_from_no_daemon_to_more_rows_than_a_list_holds(browser: object, tmp_path: Path) -> None:
    """Each view says what is missing; the next rows are read from the first one."""
    listening = Daemon(tmp_path)
    page = PageProcess(tmp_path, listening).start()
    try:
        tab = browser.new_page()  # type: ignore[attr-defined]
        tab.goto(f"{page.url}/#/label")
        tab.get_by_text("Nothing heard yet.").wait_for()
        assert tab.locator("select").count() == 0  # an empty one
        tab.goto(f"{page.url}/#/now")
        tab.get_by_text("No daemon answers yet.").wait_for()
        listening.start()
        tab.get_by_text("0 files waiting").wait_for()
        write_wav(listening.folder / "20260501_120000.wav", seconds=101 * 5, rate=4_000)
        page.predictions(101)
        tab.goto(f"{page.url}/#/day?zone=UTC&day=2026-05-01")
        tab.get_by_role("link", name="Older").focus()
        tab.keyboard.press("Enter")
        rows = tab.get_by_role("region", name="The next 1 prediction in")
        playwright.expect(rows).to_be_focused()
        playwright.expect(rows).to_be_in_viewport()
        tab.close()
    finally:
        page.clean_up()
        listening.clean_up()


def test_a_browser_that_slept_shows_what_it_missed(page: PageProcess, browser: object) -> None:
    """The page stops and starts meanwhile, and a write still works. A daemon that stops shows."""
    tab = browser.new_page()  # type: ignore[attr-defined]
    tab.goto(f"{page.url}/#/now")
    tab.get_by_text("Live.").wait_for()
    strip = tab.locator(".strip button")
    strip.first.wait_for()
    before = strip.count()
    page.kill()
    tab.get_by_text("Not connected").wait_for()
    write_wav(page.store.parent / "in" / "missed.wav")
    page.start()
    playwright.expect(strip).to_have_count(before + 1)
    tab.goto(f"{page.url}/#/review")
    tab.get_by_role("button", name="Wrong").click()
    tab.get_by_text("Reviewed just now: 1.").wait_for()
    tab.get_by_role("button", name="Take back").first.click()
    tab.close()


def test_the_stream_is_asked_for_again_after_a_proxys_error(
    page: PageProcess, browser: object
) -> None:
    """A browser itself asks only after a lost connection. Without storage the page works too."""
    tab = browser.new_page()  # type: ignore[attr-defined]
    tab.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no'); }})"
    )
    tab.route("**/api/v1/live", lambda route: route.fulfill(status=502, body="<html>"))
    tab.route("**/api/v1/predictions?**", lambda route: route.fulfill(status=502, body="<html>"))
    tab.goto(f"{page.url}/#/now")
    tab.get_by_text("Not connected").wait_for()
    tab.unroute("**/api/v1/live")
    tab.get_by_text("Live.").wait_for()
    tab.goto(f"{page.url}/#/day")
    tab.get_by_text("the page does not answer (HTTP 502)").wait_for()
    tab.close()


def test_tabs_that_are_not_seen_leave_connections_to_others(
    page: PageProcess, browser: object
) -> None:
    """A browser makes six connections to a host, and a tab that listens has one of them."""
    context = browser.new_context()  # type: ignore[attr-defined]
    see = (
        "hidden => { Object.defineProperty(document, 'hidden', {get: () => hidden, "
        "configurable: true}); document.dispatchEvent(new Event('visibilitychange')); }"
    )
    for _ in range(7):
        tab = context.new_page()
        tab.goto(f"{page.url}/#/now")
        tab.get_by_text("Live.").wait_for()
        tab.evaluate(see, True)
    first = context.pages[0]
    with first.expect_request("**/api/v1/now"):  # it loads what it missed
        first.evaluate(see, False)
    context.close()


def test_signing_in_by_keyboard(page: PageProcess, browser: object, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    guarded = PageProcess(tmp_path, options=("--password-file", str(secret), NOWHERE)).start()
    try:
        tab = browser.new_page()  # type: ignore[attr-defined]
        tab.goto(guarded.url)
        tab.get_by_label("Password").wait_for()
        tab.keyboard.type("correct horse")
        tab.keyboard.press("Enter")
        tab.get_by_role("heading", name="Now", exact=True).wait_for()
        for _ in range(2):  # past the link that skips to the content
            tab.keyboard.press("Tab")
        for view in VIEWS[1:]:
            tab.keyboard.press("Tab")
            tab.keyboard.press("Enter")
            tab.get_by_role("heading", name=view.capitalize(), exact=True).wait_for()
        tab.get_by_role("link", name="Now").click()
        tab.get_by_text("Live.").wait_for()
        guarded.kill()
        guarded.start()  # which knows no sessions: the form comes by itself
        tab.get_by_label("Password").fill("correct horse")
        tab.keyboard.press("Enter")
        tab.get_by_role("button", name="Sign out").click()
        tab.get_by_label("Password").wait_for()
        tab.close()
    finally:
        guarded.clean_up()
