"""`python -m scripts.screenshots`: draw every view of the page, of sounds made here, into docs/."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from scripts.benchmark.parts.page import ServedPage, serve_page
from scripts.benchmark.served import PATIENCE_S, Bed
from scripts.benchmark.stored import fill_health
from scripts.frontend import plainly, run_script
from scripts.screenshots.sounds import ALL, RATE
from tinyast.errors import TinyASTError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

OUTPUT = Path(__file__).resolve().parent.parent.parent / "docs" / "page"
DAYS, A_DAY = 24, 10  # recordings over these days, and how many each
SIZES = {"desktop": (1120, 840), "phone": (390, 844)}
COLOURS = 96  # of a picture
SETTINGS = "[decision]\nthreshold = 0.6\nunknown = false\n"


# What comes after the rest.
LATER = {"label": "[data-events]", "day": "tr[data-number]", "review": "section[data-number]"}
# Whether a view has its content, with every picture that is in sight.
DRAWN = """() => {
  const hidden = (image) => {
    const own = image.getBoundingClientRect();
    const place = (image.closest('.strip') ?? document.documentElement).getBoundingClientRect();
    return own.right <= place.left || own.left >= innerWidth || own.top >= innerHeight;
  };
  return document.querySelector('main .panel, main table')
    && [...document.images].every((image) => image.complete || hidden(image));
}"""


class CannotDraw(TinyASTError):
    """Something that the screenshots need is missing."""


def write_recordings(folder: Path, days: int, a_day: int) -> int:
    """Recordings named by their time, of kinds that come more or less often; how many."""
    import soundfile

    chance = np.random.default_rng(7)
    shares = np.array([1 / (1 + kind) for kind in range(len(ALL))])
    order = chance.permutation(len(ALL))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    count = 0
    for day in range(1, days + 1):
        for at in sorted(chance.uniform(0, 86_400, chance.poisson(a_day))):
            kind = ALL[order[chance.choice(len(ALL), p=shares / shares.sum())]]
            when = today - timedelta(days=day) + timedelta(seconds=float(at))
            path = folder / f"{when:%Y%m%d_%H%M%S}Z.part"
            soundfile.write(path, kind(chance), RATE, format="WAV")
            path.rename(path.with_suffix(".wav"))
            count += 1
    return count


def _wait(page: ServedPage, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        rows: list[dict[str, Any]] = json.loads(page.ask("predictions", limit=1000)[1])
        if len(rows) >= count:
            return rows
        if time.monotonic() > deadline:
            raise CannotDraw(f"the page shows {len(rows)} of {count} recordings")
        time.sleep(0.1)


def _review(page: ServedPage, rows: list[dict[str, Any]]) -> None:
    """Say of some predictions that they are right, and of fewer that they are wrong."""
    token = json.loads(page.ask("session")[1])["token"]
    for number, row in enumerate(rows[::3]):
        verdict = "right" if number % 4 else "wrong"
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE_S)
        path = f"/api/v1/predictions/{row['number']}/review"
        headers = {"X-Token": token}
        connection.request("PUT", path, json.dumps({"verdict": verdict}), headers)
        connection.getresponse().read()
        connection.close()


@contextmanager
def shown(bed: Bed, days: int, a_day: int) -> Iterator[tuple[ServedPage, list[dict[str, Any]]]]:
    """A page that shows recordings which a daemon has classified, and its predictions."""
    with bed.folder() as base:
        (base / "settings.toml").write_text(SETTINGS)
        options, garden = ("--config", str(base / "settings.toml")), base / "garden"
        with (
            bed.serve(*options, base=base, folder=garden) as served,
            serve_page(base) as page,
        ):
            rows = _wait(page, write_recordings(served.folder, days, a_day))
            _review(page, rows)
            fill_health(base / "page", 1)
            yield page, rows


def draw(browser: Browser, url: str, views: dict[str, str], output: Path) -> list[Path]:
    """A PNG of each view, by size and scheme."""
    from PIL import Image

    output.mkdir(parents=True, exist_ok=True)
    made = []
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            tab = browser.new_page(
                color_scheme="dark" if scheme == "dark" else "light",
                viewport={"width": width, "height": height},
                bypass_csp=True,  # it forbids the text below, which the driver evaluates
            )
            for view, place in views.items():
                path = output / f"{view}-{size}-{scheme}.png"
                tab.goto("about:blank")
                tab.goto(f"{url}/#/{place}")
                tab.get_by_role("heading", name=view.capitalize(), exact=True).wait_for()
                tab.wait_for_function(DRAWN)
                if (later := LATER.get(view)) is not None:
                    tab.locator(later).first.wait_for()
                    tab.wait_for_function(DRAWN)
                tab.screenshot(path=path)
                with Image.open(path) as picture:
                    picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)
                made.append(path)
            tab.close()
    return made


def main(
    output: Annotated[Path, typer.Option(help="Folder of the PNGs.")] = OUTPUT,
    days: Annotated[int, typer.Option(help="Days of recordings.", min=1)] = DAYS,
    a_day: Annotated[int, typer.Option(help="Recordings a day, on average.", min=1)] = A_DAY,
) -> None:
    """Draw every view of the page, desktop and phone, light and dark."""
    with plainly("The pictures drawn so far are kept."):
        try:
            import PIL  # noqa: F401
            from playwright.sync_api import sync_playwright
        except ModuleNotFoundError as error:
            raise CannotDraw(f"{error.name} is missing: pip install -e '.[dev]'") from error
        chromium = shutil.which("chromium")
        if chromium is None:
            raise CannotDraw("Chromium is missing: install Debian's package chromium")
        with shown(Bed(Path("/tmp"), None, "onnx"), days, a_day) as (page, rows):
            labels = json.loads(page.ask("labels")[1])
            day = time.strftime("%Y-%m-%d", time.gmtime(rows[0]["at"] / 1000))
            views = {
                "now": "now",
                "day": f"day?day={day}&zone=UTC",
                "label": f"label?label={labels[0]['label']}&threshold=0.60&zone=UTC",
                "review": "review",
                "health": "health",
            }
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                made = draw(browser, f"http://127.0.0.1:{page.port}", views, output)
                browser.close()
        size = sum(path.stat().st_size for path in made) / 1000
        typer.echo(f"wrote {len(made)} PNGs, {size:.0f} kB, to {output}")


if __name__ == "__main__":
    run_script(main)
