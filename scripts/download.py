"""Fetch ESC-50: `python -m scripts.download`.

Goes on where it was interrupted; run again when all is there, it does nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import DownloadColumn, MofNCompleteColumn

from scripts.frontend import ESC50, bar, needs_train, plainly, say_next_script

with needs_train():
    from tinyast.data.archive import ArchiveError, unpack, verify_names
from tinyast.data.download import ESC50_URL, alone_in, check_sum, fetch


def command(
    url: Annotated[str, typer.Option(help="Where the zip is: any mirror will do.")] = ESC50_URL,
    output: Annotated[Path, typer.Option(help="Folder to put it in.")] = ESC50.parent,
    sha256: Annotated[str | None, typer.Option(help="Refuse a zip with another one.")] = None,
    keep_zip: Annotated[bool, typer.Option("--keep-zip", help="Leave the zip when done.")] = False,
) -> None:
    """Download, unpack and check ESC-50 (about 600 MB; CC BY-NC 3.0, so not for commerce).

    What was interrupted is gone on with. Where all is there already, nothing is done.

    \b
    Examples:
      python -m scripts.download
      python -m scripts.download --url http://127.0.0.1:8000/esc50.zip
      python -m scripts.download --output ~/sounds --keep-zip
    """
    folder, archive = output / ESC50.name, output / f"{ESC50.name}.zip"
    with plainly("What has come is kept: the same command goes on."), alone_in(output):
        if folder.exists():
            clips = len(verify_names(folder, f"{folder} (delete it to have it fetched again)"))
            typer.echo(f"{folder} is there already, with {clips} clips.")
        else:
            fetched = _get(url, archive, sha256)
            _unpack(archive, folder, fetched)
            if not keep_zip:
                archive.unlink()
    say_next_script("preprocess", "--data", folder)


def _get(url: str, archive: Path, sha256: str | None) -> bool:
    """Whether the zip had to be fetched: one that is there was kept, or could not be unpacked."""
    if archive.exists():
        check_sum(archive, sha256)
        return False
    with bar("download", DownloadColumn()) as shown:
        task = shown.add_task("", total=None)
        fetch(
            url,
            archive,
            sha256,
            progress=lambda done, total: shown.update(task, completed=done, total=total),
            trouble=shown.console.print,
        )
    return True


def _unpack(archive: Path, folder: Path, fetched: bool) -> None:
    with bar("check   ", MofNCompleteColumn()) as shown:
        task = shown.add_task("", total=None)
        try:
            unpack(
                archive,
                folder,
                progress=lambda done, total: shown.update(task, completed=done, total=total),
            )
        except ArchiveError as error:
            if not fetched:
                raise ArchiveError(f"{error}: delete {archive}, and run the same again") from error
            # Else the next run would unpack it again, whatever --url says.
            archive.unlink()
            raise ArchiveError(f"{error}. It was thrown away: try another --url") from error


def main() -> None:
    typer.run(command)


if __name__ == "__main__":
    main()
