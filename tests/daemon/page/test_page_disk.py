"""The page's store on a disk that is full, and a store that is deleted or damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from disks import mounted
from pages import PageProcess
from running import SOON_S, Daemon
from sounds import write_wav

from daemon.page.store.schema import FILE

MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def listening(daemon: MakeDaemon) -> Daemon:
    return daemon().start()


@pytest.fixture
def page(tmp_path: Path, listening: Daemon) -> Iterator[PageProcess]:
    made = PageProcess(tmp_path, listening)
    yield made
    made.clean_up()


def test_a_full_disk_is_waited_for(tmp_path: Path, listening: Daemon, page: PageProcess) -> None:
    with mounted(page.store, "size=8m,mode=700"):
        page.start()
        write_wav(listening.folder / "0.wav", seconds=0.5)
        page.predictions(1)
        fill = page.store / "fill"
        with fill.open("wb", buffering=0) as rest, suppress(OSError):
            while True:
                rest.write(bytes(4_096))
        for number in range(1, 200):
            write_wav(listening.folder / f"{number}.wav", seconds=0.5, seed=number)
        page.wait_for(lambda: "the page waits" in page.log.read_text(), "waiting")
        (line,) = [line for line in page.log.read_text().splitlines() if "the page waits" in line]
        shown, fault = state(page)
        assert shown == "waiting"
        assert str(fault) in line
        assert page.predictions(1)
        refused = page.http.put(
            "/api/v1/predictions/1/review", headers=page.token, json={"verdict": "right"}
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        fill.unlink()
        assert len(page.predictions(200)) == 200
        page.catch_up(listening)
        page.wait_for(lambda: "written again" in page.log.read_text(), "going on")
        page.wait_for(lambda: state(page) == ("running", None), "running")
        assert "Traceback" not in page.log.read_text()
        page.clean_up()


def state(page: PageProcess) -> tuple[str, str | None]:
    """What the page says of its daemon, and why it cannot store what it hears."""
    (shown,) = page.http.get("/api/v1/daemons").json()
    return shown["state"], shown["fault"]


def test_a_deleted_store_ends_the_page_in_a_line(listening: Daemon, page: PageProcess) -> None:
    page.start()
    write_wav(listening.folder / "0.wav", seconds=0.5)
    page.predictions(1)
    for file in page.store.glob(f"{FILE}*"):
        file.unlink()
    write_wav(listening.folder / "1.wav", seconds=0.5)
    assert page.process.wait(60) == 3
    said = page.log.read_text()
    assert "was deleted or replaced; start the page again" in said.splitlines()[-1]
    assert "Traceback" not in said
    page.start()
    assert len(page.predictions(2)) == 2


@pytest.mark.parametrize("running", [True, False])
def test_a_damaged_store_ends_the_page_in_a_line(
    listening: Daemon, page: PageProcess, running: bool
) -> None:
    page.start()
    write_wav(listening.folder / "0.wav", seconds=0.5)
    page.predictions(1)
    page.process.terminate()
    page.process.wait(SOON_S)  # with nothing left in the WAL
    if running:
        page.start()
    with (page.store / FILE).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4_096)  # the header, and the list of tables, stay
        file.write(b"\xff" * (size - 4_096))
    if running:
        for number in range(1, 4):
            write_wav(listening.folder / f"{number}.wav", seconds=0.5, seed=number)
    else:
        page.spawn()
    assert page.process.wait(60) == 3
    said = page.log.read_text()
    assert f"{FILE} is damaged (database disk image is malformed). Move it away" in said
    assert "Traceback" not in said
