"""Threads keep clear of the names that `threading.Thread` has in some version of Python."""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Iterator

from conftest import ROOT

from daemon.monitoring.service_thread import ServiceThread

SOON_S = 60.0
# Of Python 3.12 to 3.14, which may not be the one that runs this test.
NEWER = {"_after_fork", "_context", "_handle", "_os_thread_handle", "_set_os_name"}


def test_a_service_thread_may_use_the_names_of_pythons_threads() -> None:
    class Busy(ServiceThread):
        def __init__(self) -> None:
            super().__init__("busy", SOON_S)
            self.done = threading.Event()
            for name in {*vars(threading.Thread()), *NEWER}:
                if name.startswith("_"):
                    setattr(self, name, None)

        def work(self) -> None:
            self.done.set()

    thread = Busy()
    thread.start()
    assert thread.done.wait(SOON_S)
    thread.join(SOON_S)
    assert not thread.is_alive()


def threads(parent: type[object]) -> Iterator[type[object]]:
    for each in parent.__subclasses__():
        yield each
        yield from threads(each)


def test_classes_of_threads_have_no_name_that_a_newer_python_uses() -> None:
    for path in (ROOT / "daemon").rglob("*.py"):
        if re.search(
            r"^class \w+\((threading\.Thread|Inotify\w+)\)", path.read_text(), re.MULTILINE
        ):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    ours = [each for each in threads(threading.Thread) if each.__module__.startswith("daemon.")]
    assert {"_Events", "_Emitter", "Follower"} <= {each.__name__ for each in ours}
    for each in ours:
        assert not NEWER & {*vars(each), *each.__init__.__code__.co_names}, each
