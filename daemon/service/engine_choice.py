"""Which engine runs the model when `engine` is "auto".

The first start uses float32. A thread times int8 against it once the daemon is idle, and
keeps the result in the state directory for the starts that follow.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from daemon.errors import SettingsError
from daemon.host.files import opened
from daemon.monitoring.service_thread import ServiceThread
from daemon.protocol.messages import now
from daemon.settings.schema import Settings
from tinyast.classifier import Classifier
from tinyast.errors import CheckpointError
from tinyast.inference.allocator import give_back_freed_memory
from tinyast.inference.checkpoint import read_checkpoint
from tinyast.inference.choice import Conditions, Timing, objection, time_engines
from tinyast.inference.engine_names import EngineName

log = logging.getLogger(__name__)

FILE = "engine.json"  # in the state directory
MOST_BYTES = 1 << 16
QUIET_S = 2.0  # without a file or a live window, until the timing begins or resumes
LOOK_S = 0.1  # between looks whether something came
LIMIT_S = 60.0  # to load an engine


class Kept(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the file."""

    conditions: Conditions
    timing: Timing
    timed_at: str


class Choice(Struct, frozen=True):
    """The engine to load, and why."""

    engine: EngineName
    reason: str
    untimed: bool = False  # int8 may be better, and has to be timed


def choose_engine(settings: Settings) -> Choice:
    """The engine that these settings mean on this machine. Raises CheckpointError.

    It only reads the state directory; if that cannot be read, the timing counts as unknown.
    """
    if settings.engine != "auto":
        return Choice(settings.engine, "the settings name it")
    checkpoint = read_checkpoint(settings.checkpoint_path)
    if (problem := objection(checkpoint)) is not None:
        return Choice("onnx", problem)
    try:
        kept = _read(settings.state_path)
    except SettingsError:  # there is no such directory
        kept = None
    if kept is None or kept.conditions != Conditions.here(checkpoint):
        return Choice("onnx", "int8 is timed after a start, when no file waits", untimed=True)
    return Choice("int8" if kept.timing.int8_is_faster else "onnx", str(kept.timing))


def _read(state: Path) -> Kept | None:
    """The last timing; None if there is none, or it is damaged."""
    try:
        with opened(state / FILE) as fd:
            kept = msgspec.json.decode(os.pread(fd, MOST_BYTES, 0), type=Kept)
    except OSError:
        return None
    except (ValueError, RecursionError) as error:
        log.warning("%s is damaged, so the engines are timed again: %s", state / FILE, error)
        return None
    return kept if kept.timing.is_valid else None


def _write(state: Path, kept: Kept) -> None:
    """Replace the last timing, or leave it as it is. Raises OSError."""
    part = state / f"{FILE}.part"
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as out:
        out.write(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
    os.rename(part, state / FILE)


class EngineTimer(ServiceThread):
    """Times int8 against the engine in float32 that runs, while `is_idle`, and keeps the result.

    At the priority of all threads: one of a lower priority would keep the others waiting whenever
    the system takes the processor from it while it holds the interpreter's lock.
    """

    def __init__(self, state: Path, classifier: Classifier, is_idle: Callable[[], bool]) -> None:
        super().__init__("engine timing", LIMIT_S)
        self._state, self.classifier, self._is_idle = state, classifier, is_idle
        self._begun = False
        self.found = ""  # the result in words; empty until it is known

    def work(self) -> None:
        try:
            timing = self._time()
        except CheckpointError as error:
            self.found = f"int8 could not be timed: {error}"
            log.warning("%s", self.found)
            return
        except OSError as error:
            self.found = f"the time that int8 takes could not be kept: {error}"
            log.warning("%s", self.found)
            return
        finally:
            give_back_freed_memory()
        if timing is not None:
            after = "; int8 runs from the next start" if timing.int8_is_faster else ""
            self.found = f"{timing}{after}"
            log.info("engine: %s", self.found)

    def _time(self) -> Timing | None:
        checkpoint, engine = self.classifier.checkpoint, self.classifier.engine
        timed = time_engines(checkpoint, engine, self._wait_until_idle)
        if timed is None:
            return None
        conditions, timing = timed
        _write(self._state, Kept(conditions=conditions, timing=timing, timed_at=now()))
        return timing

    def _wait_until_idle(self) -> bool:
        """Wait while the daemon has work; False if it stops."""
        if self._begun and self._is_idle():
            return not self._halt.is_set()
        self._begun = True
        idle_since = time.monotonic()
        while not self._halt.wait(LOOK_S):
            if not self._is_idle():
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= QUIET_S:
                return True
        return False
