"""The program: `tinyastd`, or `python -m daemon`."""

import gc
import os
import signal
import sys


def main() -> None:
    """Run the command. Ctrl-C while it starts ends it without a traceback (`monitoring.signals`).

    The daemon has stopped as asked, exit code 0, also if it is asked to while it starts.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"  # paths in messages are UTF-8, whatever the locale
        os.execv(sys.executable, sys.orig_argv)
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:  # `nohup` and shells that run something in the background may have it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] == ["run"]:
        # Until the service takes over. No exception: one in an import becomes an ImportError.
        for number in (signal.SIGTERM, *[signal.SIGINT] * ours):
            signal.signal(number, lambda *_: os._exit(0))
        gc.disable()  # until the service is ready: what a start makes stays
    from daemon.cli import app

    app.main()


if __name__ == "__main__":
    main()
