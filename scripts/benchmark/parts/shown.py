"""How soon a browser has what a message says, with its picture: from published to received."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator

from scripts.benchmark.figures import Figure
from scripts.benchmark.parts.load import renamed
from scripts.benchmark.parts.page import ServedPage, serve_page
from scripts.benchmark.served import PATIENCE_S, Bed, NoDaemon
from scripts.benchmark.sound import recording

AT_ONCE = 25  # files
SETTINGS = "[pictures]\npublish = true\n"


def measure(bed: Bed, turns: int) -> list[Figure]:
    """`turns` times `AT_ONCE` files are dropped at once, with a pause before each turn."""
    sounds = [recording(kind) for kind in range(AT_ONCE)]
    late: list[float] = []
    with bed.folder() as base:
        (base / "settings.toml").write_text(SETTINGS)
        with (
            bed.serve("--config", str(base / "settings.toml"), base=base) as served,
            serve_page(base) as page,
        ):
            while not json.loads(page.ask("daemons")[1])[0]["heartbeat"]:
                time.sleep(0.01)
            stream = _rows(page)
            next(stream)
            for turn in range(turns):
                for number, sound in enumerate(sounds):
                    renamed(served.folder / f"shown-{turn}-{number}.wav", sound)
                seen = 0
                while seen < AT_ONCE:
                    now, published = next(stream)
                    late += [now - each for each in published]
                    seen += len(published)
                time.sleep(AT_ONCE / 10)  # until the page sends a flood's rows again
    note = f"row and picture of {AT_ONCE} files at once"
    return [Figure("message to browser", "ms", tuple(late), note)]


def _rows(page: ServedPage) -> Iterator[tuple[float, list[int]]]:
    """For each event with rows: when it came, and when its messages were published, in ms.

    The first item says only that the stream has begun. Raises NoDaemon if a picture is missing.
    """
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE_S)
    connection.request("GET", "/api/v1/live")
    answer = connection.getresponse()
    kind = b""
    try:
        for line in iter(answer.readline, b""):
            name, _, value = line.strip().partition(b": ")
            if name == b"event":
                kind = value
            elif name == b"data" and kind == b"hello":
                yield 0.0, []
            elif name == b"data" and kind == b"rows":
                now, found = 1000 * time.time(), json.loads(value)
                if any(each["picture"] is None for each in found):
                    raise NoDaemon("a row came without its picture")
                yield now, [each["row"]["published"] for each in found]
    finally:
        connection.close()
