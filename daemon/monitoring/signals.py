"""What signals do that ask a process to end, or to read its settings again.

While a command starts, Ctrl-C ends the process at once: Python's KeyboardInterrupt would be dropped
where libraries call Python code, as msgspec does for the types of settings, and some imports make
an error of their own of it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue


def raise_on_ctrl_c() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt: the command has something to put in order.

    Not if it does something else already, or is ignored, as `nohup` and some shells have it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def on_signals(deeds: Mapping[int, Callable[[], object]]) -> None:
    """Have each of these signals do its deed, in a thread that waits for them.

    A handler runs in the main thread between any two steps, even where that holds a lock which the
    deed needs too, such as an event's; there the deed would never get it.
    """
    came: SimpleQueue[int] = SimpleQueue()  # its `put` may interrupt anything

    def do_deeds() -> None:
        while True:
            deeds[came.get()]()

    threading.Thread(target=do_deeds, name="signals", daemon=True).start()
    for number in deeds:
        signal.signal(number, lambda number, _: came.put(number))
