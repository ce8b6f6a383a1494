"""Fetch ESC-50: `python -m scripts.download`.

Resumes an interrupted download, and does nothing if ESC-50 is complete.
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
    url: Annotated[str, typer.Option(help="URL of the zip; any mirror works.")] = ESC50_URL,
    output: Annotated[Path, typer.Option(help="Folder to unpack into.")] = ESC50.parent,
    sha256: Annotated[str | None, typer.Option(help="Reject a zip with another hash.")] = None,
    keep_zip: Annotated[bool, typer.Option("--keep-zip", help="Keep the zip.")] = False,
) -> None:
    """Download, unpack and check ESC-50 (about 600 MB; CC BY-NC 3.0, so not for commercial use).

    Resumes an interrupted download, and does nothing if ESC-50 is complete.

    \b
    Examples:
      python -m scripts.download
      python -m scripts.download --url http://127.0.0.1:8000/esc50.zip
      python -m scripts.download --output ~/sounds --keep-zip
    """
    folder, archive = output / ESC50.name, output / f"{ESC50.name}.zip"
    with plainly("The downloaded part is kept; run the same command to resume."), alone_in(output):
        if folder.exists():
            clips = len(verify_names(folder, f"{folder} (delete it to fetch it again)"))
            typer.echo(f"{folder} is there already, with {clips} clips.")
        else:
            fetched = _get(url, archive, sha256)
            _unpack(archive, folder, fetched)
            if not keep_zip:
                archive.unlink()
    say_next_script("preprocess", "--data", folder)


def _get(url: str, archive: Path, sha256: str | None) -> bool:
    """Whether the zip was fetched; a zip from an earlier run is only checked."""
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
                raise ArchiveError(f"{error}: delete {archive} and try again") from error
            # Else the next run would unpack it again, whatever --url says.
            archive.unlink()
            raise ArchiveError(f"{error}. It was deleted: try another --url") from error


def main() -> None:
    typer.run(command)


if __name__ == "__main__":
    main()
