"""Shared by all scripts: missing packages, progress bars, error messages, the next command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from typer.core import TyperCommand

from tinyast.errors import TinyASTError

# `download` writes these, the other scripts read them.
ESC50 = Path("data/raw/ESC-50-master")
EXTRA = Path("data/raw/extra")  # sounds of no kind


PACKAGES = ("torch", "transformers", "librosa", "pandas", "matplotlib", "onnx")  # of `train`


class Script(TyperCommand):
    """The command of a script. Refuses empty paths, which would mean the current folder."""

    # `ctx` has a type of typer's own copy of click, or of click: it depends on typer's version.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            given = ctx.params.get(parameter.name)
            values = given if isinstance(given, list | tuple) else [given]
            if parameter.type.name == "path" and "" in values:
                raise typer.BadParameter(
                    "is empty; name a path (. is the current folder)",
                    param_hint=max(parameter.opts, key=len),
                )
        return rest


def run_script(command: Callable[..., None], **options: Any) -> None:
    """Run the function of a script with the options of the command line, and exit."""
    app = typer.Typer(add_completion=False)
    app.command(cls=Script, **options)(command)
    app()


def check_train() -> None:
    """Exit as `needs_train` does if a package of the extra `train` is missing, importing none."""
    with needs_train():
        for name in PACKAGES:
            if find_spec(name) is None:
                raise ModuleNotFoundError(name=name)


@contextmanager
def needs_train() -> Iterator[None]:
    """Wrap a script's imports: without the extra `train`, say how to install it and exit 2."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "tinyast", "scripts"):
            raise  # this checkout is broken
        install = shlex.join([_python(), "-m", "pip", "install", "-e", ".[train]"])
        _say_error(f"{error.name} is not installed. This needs the extra `train`: {install}")
        raise SystemExit(2) from None


@contextmanager
def plainly(stopped: str) -> Iterator[None]:
    """Turn errors into one sentence and exit code 2; on Ctrl-C print `stopped` and exit 130."""
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
    """A progress bar with the time left and the caller's `columns`."""
    return Progress(
        TextColumn(title), BarColumn(), *columns[:1], TimeRemainingColumn(), *columns[1:]
    )


def say_next(*words: str | Path) -> None:
    """Print the next command, ready to paste."""
    typer.echo(f"Next: {shlex.join(map(str, words))}")


def say_next_script(name: str, *words: str | Path) -> None:
    """`say_next` for a script, with the Python that runs this one."""
    say_next(_python(), "-m", f"scripts.{name}", *words)


def _python() -> str:
    """The interpreter as the user typed it: `python`, `.venv/bin/python`."""
    return sys.orig_argv[0] or sys.executable


def _say_error(text: str) -> None:
    typer.secho(f"Error: {text}", err=True, fg="red")
