"""The front of `tinyastd classify`: what to do, where to write it, and a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from daemon.commands.classify_output import (
    CSV_FIELDS,
    ROWS,
    classify_all,
    classify_file,
    find,
    finished_in,
    shown,
)
from daemon.errors import SettingsError
from daemon.monitoring.logging import printable
from daemon.pipeline.decision import check_labels
from daemon.pipeline.prediction import Listening, Rules
from daemon.settings.schema import Folder, Settings
from daemon.sources.folder.readiness import opened
from tinyast.audio.content import Content
from tinyast.audio.decoding import FORMATS
from tinyast.classifier import Classifier
from tinyast.errors import AudioError
from tinyast.inference.allocator import keep_freed_memory


def run_batch(
    settings: Settings,
    paths: Sequence[Path],
    kind: str,
    output: Path | None,
    overwrite: bool,
    formats: str | None,
) -> int:
    """Classify everything named; return how many files failed."""
    folder = _folder(settings, formats)
    found = find(paths, folder)
    if not found:
        raise SettingsError(f"no {'/'.join(folder.looks_at())} files there")
    keep_freed_memory(settings.worker_count)
    classifier = Classifier.load(settings.checkpoint_path, settings.engine)
    check_labels(settings.decision, classifier.labels)
    rules = Rules(settings.decision, settings.audio.hop, settings.audio.max_duration, settings.top)

    def windows_of(path: bytes) -> int:
        with suppress(OSError, AudioError), opened(path) as fd:
            content = Content(fd, os.fstat(fd).st_size, header_only=True)
            return len(Listening(content, path, folder, classifier, rules).plan)
        return -1

    finished: set[str] = set()
    if output is not None and output.exists() and not overwrite and output.stat().st_size:
        if kind == "table":
            raise SettingsError(
                f"{output} exists; use --overwrite, or csv or jsonl to go on with it"
            )
        finished = finished_in(output, kind, windows_of)
        print(f"going on: {output} holds {len(finished)} files already", file=sys.stderr)
    todo = [path for path in found if shown(path) not in finished]

    failed = 0
    with _opened_output(output, bool(finished)) as out, _progress(len(todo)) as advance:
        if kind == "csv" and not (output is not None and out.tell()):
            out.write(",".join(CSV_FIELDS) + "\n")
        results = classify_all(
            todo,
            lambda path: classify_file(path, folder, classifier, rules, settings.node),
            settings.worker_count,
        )
        for result in results:
            out.write(ROWS[kind](result))
            out.flush()
            advance()
            if result.error is not None:
                failed += 1
                print(f"{printable(shown(result.path))}: {result.error}", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(todo)} files failed", file=sys.stderr)
    return failed


def find_watched(settings: Settings, paths: Sequence[Path]) -> list[bytes]:
    """Files under `paths`, each of which has to lie in a watched folder."""
    found: list[bytes] = []
    for path in paths:
        whole = os.path.realpath(path)
        for folder in settings.folder:
            if whole == folder.path or Path(whole).is_relative_to(folder.path):
                found += find([Path(whole)], folder)
                break
        else:
            watched = ", ".join(folder.path for folder in settings.folder)
            raise SettingsError(f"{path} is in no watched folder; watched are {watched}")
    return found


def _folder(settings: Settings, formats: str | None) -> Folder:
    """How files are read: as the first configured folder is, but recursive."""
    import msgspec

    first = settings.folder[0] if settings.folder else Folder(path=".")
    names = first.formats if formats is None else tuple(formats.lower().split(","))
    if unknown := [name for name in names if name not in FORMATS]:
        raise SettingsError(f"--formats names {unknown[0]!r}; known are {', '.join(FORMATS)}")
    suffixes = first.suffixes if formats is None else ()
    return msgspec.structs.replace(first, recursive=True, formats=names, suffixes=suffixes)


@contextmanager
def _opened_output(output: Path | None, go_on: bool) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    try:
        handle = output.open("a" if go_on else "w", encoding="utf-8", newline="")
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error.strerror}") from error
    with handle:
        yield handle


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar where a person watches, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
