"""The program: `tinyastd`, or `python -m daemon`."""

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command. Ctrl-C while its modules load ends it without a traceback.

    The daemon has stopped as asked, exit code 0, also if it is asked to while it starts.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:  # `nohup` and shells that run something in the background may have it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    asked = [signal.SIGTERM, *[signal.SIGINT] * ours] if sys.argv[1:2] == ["run"] else []
    for number in asked:
        signal.signal(number, lambda *_: os._exit(0))  # an import cannot be left by an exception
    from daemon.cli import app

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in asked:
        signal.signal(number, _leave)  # until the service takes over
    app.main()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
