"""`tinyastd`: the command line. Each command reads its options and calls one module."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from daemon.cli.command import Command
from daemon.cli.installing import devices, install_service, keygen
from daemon.cli.journal import backup, reprocess, restore
from daemon.cli.listening import listen, status
from daemon.cli.recordings import classify, labels, similar
from daemon.cli.serving import doctor, run
from daemon.cli.teaching import learn
from daemon.commands.mqtt import mqtt
from daemon.commands.notify import notify
from daemon.commands.page import page
from daemon.errors import FORBIDDEN, DaemonError, SettingsError
from daemon.host.parent import is_helper, serve_parent
from daemon.monitoring.output import discard_output, flush_output, is_full, open_standard_streams
from tinyast.errors import TinyASTError
from tinyast.threads import one_maths_thread


def _version(wanted: bool) -> None:
    if wanted:
        from tinyast import __version__

        typer.echo(f"tinyastd {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


COMMANDS = {
    command.__name__.replace("_", "-"): command
    for command in (
        run, listen, classify, learn, similar, labels, reprocess, backup, restore, status, keygen,
        install_service, devices, doctor, page, mqtt, notify,
    )  # in the order of the help
}  # fmt: skip


def command_line(arguments: Sequence[str] = ()) -> typer.Typer:
    """`tinyastd` with the command that `arguments` begin with; with all, if they begin otherwise.

    To describe all of them takes a tenth of a daemon's start.
    """
    app = typer.Typer(
        help="Listen to folders and microphones, classify sounds, publish the results over ZeroMQ.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",  # the other mode takes `[page]` for a colour and leaves it out
        callback=_root,
    )
    named = [name for name in arguments[:1] if name in COMMANDS]
    for name in named or COMMANDS:
        app.command(name, cls=Command)(COMMANDS[name])
    return app


def main() -> None:
    """The entry point: print errors meant for people as one line."""
    open_standard_streams()
    one_maths_thread()
    serve_parent()
    try:
        try:
            command_line(sys.argv[1:])()
        finally:
            flush_output()
    except (DaemonError, TinyASTError) as error:
        from daemon.monitoring.shortage import remedy

        _say(f"{error}{remedy(error)}")
        # The others are about a checkpoint or clips that the command line or the settings name.
        sys.exit(error.exit_code if isinstance(error, DaemonError) else SettingsError.exit_code)
    except BrokenPipeError:  # the reader has seen enough
        sys.exit(1)
    except OSError as error:
        if is_full(error):
            discard_output()
            _say(f"cannot write {error.filename or 'the output'}: {error.strerror}")
        elif error.errno in FORBIDDEN and error.filename is not None:
            place = os.fsdecode(error.filename)
            _say(f"this user may not use {place} ({error.strerror}); allow it, or name another")
        else:
            raise
        sys.exit(1)


def _say(text: str) -> None:
    from daemon.monitoring.logging import printable

    if is_helper():
        print(printable(text), flush=True)  # for the daemon to log and publish
    else:
        print(f"tinyastd: {printable(text)}", file=sys.stderr)


if __name__ == "__main__":
    main()
