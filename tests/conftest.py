"""Shared fixtures: real recordings, daemons, and checks that a test leaves no thread behind."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from disks import mounted
from running import ROOT as ROOT
from running import STRESS, Daemon

from tinyast.threads import one_maths_thread

# Before numpy is loaded, as in the daemon: the last bits of a sum depend on the number of threads.
one_maths_thread()
# Scores must not depend on whether the engines were timed, on this machine or during a test.
os.environ["TINYAST_ENGINE"] = "onnx"

SHARED = Path(os.environ.get("TINYAST_SHARED", ROOT.parent / "shared"))
# A shell that starts tests in the background has them ignore Ctrl-C, and every program that they
# start inherits that; a handler of our own is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine makes examples slowly; that is no fault of the code.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

# Each way of installing takes minutes, and the registries: `make acceptance PART=install`.
collect_ignore = [] if STRESS >= 1 else ["install"]

REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"


@pytest.fixture(scope="session")
def esc50() -> Path:
    """The folder of real ESC-50 recordings: audio/*.flac, original/*.wav, esc50.csv."""
    folder = SHARED / "esc50"
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; set TINYAST_SHARED to the folder that has esc50/")
    return folder


@pytest.fixture(scope="session")
def originals(esc50: Path) -> list[Path]:
    """The 25 recordings as published: 44.1 kHz PCM16 WAV."""
    return sorted((esc50 / "original").glob("*.wav"))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make daemons, not started yet: `daemon("--workers", "1").start()`."""
    made: list[Daemon] = []

    def make(*options: str, env: dict[str, str] | None = None, base: Path | None = None) -> Daemon:
        made.append(Daemon(base or tmp_path, *options, env=env))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with mounted(tmp_path / "small", "size=1m") as disk:
        yield disk


@pytest.fixture(autouse=True)
def plain_logging() -> Iterator[None]:
    """Commands that run in this process, and libraries, change logging for all that follow."""
    _put_logging_back()
    yield
    _put_logging_back()


def _put_logging_back() -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if not type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)
    for one in _our_loggers():
        one.level, one.disabled = logging.NOTSET, False
    logging.disable(logging.NOTSET)
    root.setLevel(logging.WARNING)  # and forgets which loggers were enabled


def _our_loggers() -> list[logging.Logger]:
    return [
        one
        for name, one in logging.root.manager.loggerDict.items()
        if isinstance(one, logging.Logger) and name.split(".")[0] in ("daemon", "tinyast")
    ]


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 30
    while leaked := [t for t in threading.enumerate() if t not in before and not t.daemon]:
        if time.monotonic() > deadline:
            pytest.fail(f"leaked threads: {leaked}")
        leaked[0].join(0.1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With REQUIRE_ALL=1 a skipped test fails."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although REQUIRE_ALL=1: {report.longrepr}"
