"""Fetch ESC-50: `python -m scripts.download`.

Goes on where it was interrupted; run again when all is there, it does nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from tinyast.download import ESC50_URL, fetch, unpack
from tinyast.errors import TinyASTError

NAME = "ESC-50-master"


def command(
    url: Annotated[str, typer.Option(help="Where the zip is: any mirror will do.")] = ESC50_URL,
    output: Annotated[Path, typer.Option(help="Folder to put it in.")] = Path("data/raw"),
    sha256: Annotated[str | None, typer.Option(help="Refuse a zip with another one.")] = None,
    keep_zip: Annotated[bool, typer.Option(help="Leave the zip when done.")] = False,
) -> None:
    """Download, unpack and check ESC-50 (about 600 MB; CC BY-NC 3.0, so not for commerce)."""
    folder, archive = output / NAME, output / f"{NAME}.zip"
    if folder.is_dir():
        typer.echo(f"{folder} is there already.")
    else:
        try:
            _get(url, archive, folder, sha256)
        except TinyASTError as error:
            typer.secho(f"Error: {error}", err=True, fg="red")
            raise typer.Exit(1) from None
        if not keep_zip:
            archive.unlink()
    typer.echo(f"Next: python -m scripts.train --recipe quick --data {folder}")


def _get(url: str, archive: Path, folder: Path, sha256: str | None) -> None:
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    with Progress(TextColumn("download"), *columns, DownloadColumn()) as bar:
        if not archive.exists():
            task = bar.add_task("", total=None)
            fetch(
                url,
                archive,
                sha256,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    with Progress(TextColumn("check   "), *columns, TextColumn("{task.completed} clips")) as bar:
        task = bar.add_task("", total=None)
        unpack(
            archive,
            folder,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def main() -> None:
    typer.run(command)


if __name__ == "__main__":
    main()
