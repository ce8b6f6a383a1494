"""The program: `tinyastd`, or `python -m daemon`."""

import signal


def main() -> None:
    """Run the command. Ctrl-C while its modules load ends it without a traceback."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:  # `nohup` and shells that run something in the background may have it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from daemon.cli import app

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app.main()


if __name__ == "__main__":
    main()
