"""What every script does alike: ask for what is missing, show progress, fail, say what is next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from tinyast.errors import TinyASTError

ESC50 = Path("data/raw/ESC-50-master")  # where `download` puts it, and the others look for it


@contextmanager
def needs_train() -> Iterator[None]:
    """Around the imports of a script: says what to install where the extra `train` is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "tinyast", "scripts"):
            raise  # a fault of this checkout
        install = shlex.join([_python(), "-m", "pip", "install", "-e", ".[train]"])
        _say_error(f"{error.name} is not installed. This needs the extra `train`: {install}")
        raise SystemExit(2) from None


@contextmanager
def plainly(stopped: str) -> Iterator[None]:
    """What goes wrong is told in a sentence, with exit code 2; Ctrl-C by `stopped`, with 130."""
    try:
        yield
    except TinyASTError as error:
        _say_error(str(error))
        raise typer.Exit(2) from None
    except OSError as error:  # a full disk, a file where a folder should be, no permission
        where = "" if error.filename is None else f"{error.filename}: "
        _say_error(f"{where}{error.strerror or error}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.secho(f"Stopped. {stopped}", err=True)
        raise typer.Exit(130) from None


def bar(title: str, *columns: ProgressColumn) -> Progress:
    """A progress bar with the time left and, of its own, `columns`."""
    return Progress(
        TextColumn(title), BarColumn(), *columns[:1], TimeRemainingColumn(), *columns[1:]
    )


def say_next(*words: str | Path) -> None:
    """Print the command to run next, to be pasted as it stands."""
    typer.echo(f"Next: {shlex.join(map(str, words))}")


def say_next_script(name: str, *words: str | Path) -> None:
    """`say_next` for a script, run by the same Python as this one."""
    say_next(_python(), "-m", f"scripts.{name}", *words)


def _python() -> str:
    """The interpreter as it was called: `python`, `.venv/bin/python`."""
    return sys.orig_argv[0] or sys.executable


def _say_error(text: str) -> None:
    typer.secho(f"Error: {text}", err=True, fg="red")
