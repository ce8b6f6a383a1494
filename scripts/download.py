"""Fetch what training needs: `python -m scripts.download`, with --pretrained or --extra for more.

Resumes an interrupted download, and skips files that are complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import DownloadColumn, MofNCompleteColumn, TextColumn

from scripts.frontend import ESC50, EXTRA, bar, needs_train, plainly, run_script, say_next_script

with needs_train():
    from tinyast.data.archive import ArchiveError, unpack, verify_names
from tinyast.data.download import ESC50_URL, Progress, alone_in, check_sum, fetch
from tinyast.data.extra.folder import LABELS, read_rows
from tinyast.data.extra.making import GROUPS, make_all, makers
from tinyast.data.pretrained import (
    PRETRAINED,
    PRETRAINED_SHA256,
    PRETRAINED_URL,
    fetch_pretrained,
)
from tinyast.errors import DataError


def command(
    url: Annotated[str | None, typer.Option(help="Another URL for the same file.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the downloads.")] = ESC50.parent,
    sha256: Annotated[str | None, typer.Option(help="Reject a zip with another hash.")] = None,
    keep_zip: Annotated[
        bool, typer.Option("--keep-zip", help="Keep the zip, or the packages of --extra.")
    ] = False,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Fetch the weights that training starts from.")
    ] = False,
    extra: Annotated[
        bool, typer.Option("--extra", help="Fetch and make sounds of no kind: about 930 MB.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help=f"With --extra: leave a group out ({', '.join(GROUPS)})."),
    ] = None,
) -> None:
    """Download, unpack and check ESC-50 (about 600 MB; CC BY-NC 3.0, so not for commercial use).

    With --pretrained, download the weights that training starts from instead (4 MB, MIT).
    With --extra, make sounds of no kind instead: speech, music, noise, tones, interface sounds,
    effects and other animals, by espeak-ng, flite, fluidsynth and numpy, and from Debian packages
    with free licences. labels.csv lists each clip's group, source, licence and split.

    Resumes an interrupted download, and skips files that are complete.

    \b
    Examples:
      python -m scripts.download
      python -m scripts.download --url http://127.0.0.1:8000/esc50.zip
      python -m scripts.download --output ~/sounds --keep-zip
      python -m scripts.download --pretrained
      python -m scripts.download --extra --without speech
    """
    with plainly("The downloaded part is kept; run the same command to resume."):
        _check(pretrained, extra, url, sha256, without or [])
        with alone_in(output):
            if pretrained:
                _pretrained(url or PRETRAINED_URL, output)
            elif extra:
                wanted = [name for name in GROUPS if name not in (without or [])]
                _extra(output / EXTRA.name, wanted, keep_zip)
            else:
                _esc50(url or ESC50_URL, output, sha256, keep_zip)
    if pretrained:
        say_next_script("train", "--recipe", "quick")
    elif not extra:
        say_next_script("preprocess", "--data", output / ESC50.name)


def _check(
    pretrained: bool, extra: bool, url: str | None, sha256: str | None, without: list[str]
) -> None:
    """Raise DataError for options that do not go together."""
    if pretrained and extra:
        raise DataError("--pretrained and --extra are two downloads: run one after the other")
    if pretrained and sha256 is not None and sha256.lower() != PRETRAINED_SHA256:
        raise DataError(f"the SHA-256 of the pretrained weights is fixed: {PRETRAINED_SHA256}")
    if extra and (url is not None or sha256 is not None):
        raise DataError("--extra gets its packages from apt: --url and --sha256 do not apply")
    if without and not extra:
        raise DataError("--without applies only to --extra")
    if unknown := sorted(set(without) - set(GROUPS)):
        raise DataError(f"no group is called {unknown[0]!r}; there are {', '.join(GROUPS)}")


def _esc50(url: str, output: Path, sha256: str | None, keep_zip: bool) -> None:
    folder, archive = output / ESC50.name, output / f"{ESC50.name}.zip"
    if folder.exists():
        clips = len(verify_names(folder, f"{folder} (delete it to fetch it again)"))
        typer.echo(f"{folder} is there already, with {clips} clips.")
        return
    fetched = not archive.exists()
    if fetched:
        with _downloading() as (progress, trouble):
            fetch(url, archive, sha256, progress=progress, trouble=trouble)
    else:
        check_sum(archive, sha256)
    _unpack(archive, folder, fetched)
    if not keep_zip:
        archive.unlink()


def _pretrained(url: str, output: Path) -> None:
    with _downloading() as (progress, trouble):
        fetched = fetch_pretrained(output, url, progress, trouble)
    typer.echo(f"{output / PRETRAINED} {'is complete' if fetched else 'is there already'}.")


def _extra(folder: Path, groups: list[str], keep: bool) -> None:
    labels, debs = folder / LABELS, folder / "packages"
    if labels.exists():
        clips = len(read_rows(labels))
        typer.echo(f"{folder} is there already, with {clips} clips (delete it to make it again).")
        return
    debs.mkdir(parents=True, exist_ok=True)
    found = makers(debs, groups)
    with bar("make    ", MofNCompleteColumn(), TextColumn("{task.description}")) as shown:
        task = shown.add_task("", total=len(found))
        rows = make_all(
            found,
            folder,
            progress=lambda name, number: shown.update(task, description=name, completed=number),
            left_out=lambda why: shown.console.print(f"{why}: left out"),
        )
    if not keep:
        shutil.rmtree(debs)
    typer.echo(f"{len(rows)} clips in {folder}; {labels} lists their sources and licences.")


@contextmanager
def _downloading() -> Iterator[tuple[Progress, Callable[[str], None]]]:
    """A progress bar: what `fetch` wants as `progress` and as `trouble`."""
    with bar("download", DownloadColumn()) as shown:
        task = shown.add_task("", total=None)
        yield (
            lambda done, total: shown.update(task, completed=done, total=total),
            shown.console.print,
        )


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
    run_script(command)


if __name__ == "__main__":
    main()
