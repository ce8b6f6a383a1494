"""`tinyastd classify`: classify files and folders once, without a daemon."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from msgspec.structs import replace

from daemon.commands.classify_output import CSV_FIELDS, ROWS, Result, finished_in, shown
from daemon.errors import SettingsError
from daemon.host.files import opened
from daemon.journal.ledger import Identity, claim
from daemon.monitoring.logging import printable
from daemon.pipeline.decision import check_labels
from daemon.pipeline.prediction import RecordingReader, Rules
from daemon.protocol.messages import file_source, now
from daemon.settings.schema import Folder, Settings
from daemon.sources.folder.scan import Scope, Walk
from tinyast.audio.content import Content
from tinyast.audio.decoding import FORMATS
from tinyast.classifier import Classifier
from tinyast.errors import AudioError
from tinyast.inference.allocator import keep_freed_memory

SOURCE = "classify"


@dataclass(frozen=True)
class Batch:
    """How the files of one call are classified."""

    classifier: Classifier
    folder: Folder  # its settings count for all files
    rules: Rules
    node: str
    workers: int

    @classmethod
    def load(cls, settings: Settings, folder: Folder) -> Batch:
        """Load the model. Raises SettingsError for labels that it does not know."""
        keep_freed_memory(settings.worker_count)
        classifier = Classifier.load(settings.checkpoint_path, settings.engine)
        check_labels(settings.decision, classifier.labels)
        rules, workers = Rules.of(settings), settings.worker_count
        return cls(classifier, folder, rules, settings.node, workers)

    def windows_of(self, path: bytes) -> int:
        """The number of windows in a file; -1 if it cannot be read."""
        with suppress(OSError, AudioError), opened(path) as fd:
            content = Content(fd, os.fstat(fd).st_size, header_only=True)
            return len(self._reader(content, path).plan)
        return -1

    def classify(self, path: bytes) -> Result:
        """Classify every window of one file."""
        source = file_source(SOURCE, path)
        try:
            with opened(path) as fd:
                stat = os.fstat(fd)
                reader = self._reader(Content(fd, stat.st_size), path)
                file_id = claim(path, SOURCE, Identity.of(stat), None).file_id
                messages = [reader.predict(window, source, file_id) for window in reader.plan]
                defect = reader.defect
        except AudioError as error:
            return Result(path, [], f"{error} ({error.code})")
        except OSError as error:
            return Result(path, [], error.strerror or str(error))
        # As the daemon publishes them, without their place in a stream.
        published = [replace(each, node=self.node, published_at=now()) for each in messages]
        return Result(path, published, None if defect is None else f"{defect} ({defect.code})")

    def _reader(self, content: Content, path: bytes) -> RecordingReader:
        return RecordingReader(content, path, self.folder, self.classifier, self.rules)

    def results(self, paths: Iterable[bytes]) -> Iterator[Result]:
        """Results in the order of `paths`, computed a few files ahead on threads."""
        waiting: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(self.workers) as pool:
            for path in paths:
                waiting.append(pool.submit(self.classify, path))
                if len(waiting) > 4 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


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
    batch = Batch.load(settings, folder)
    finished = set() if overwrite else _finished(batch, output, kind)
    todo = [path for path in found if shown(path) not in finished]
    failed = 0
    with _opened_output(output, bool(finished)) as out, progress(len(todo)) as advance:
        if kind == "csv" and not (output is not None and out.tell()):
            out.write(",".join(CSV_FIELDS) + "\n")
        for result in batch.results(todo):
            out.write(ROWS[kind](result))
            out.flush()
            advance()
            if result.error is not None:
                failed += 1
                print(f"{printable(shown(result.path))}: {result.error}", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(todo)} files failed", file=sys.stderr)
    return failed


def _finished(batch: Batch, output: Path | None, kind: str) -> set[str]:
    """Paths whose results an earlier call wrote to `output`. Raises SettingsError for a table."""
    if output is None or not output.exists() or not output.stat().st_size:
        return set()
    if kind == "table":
        raise SettingsError(f"{output} exists; use --overwrite, or csv or jsonl to go on with it")
    finished = finished_in(output, kind, batch.windows_of)
    print(f"resuming: {len(finished)} files already in {output}", file=sys.stderr)
    return finished


def find_watched(settings: Settings, paths: Sequence[Path]) -> list[bytes]:
    """Files under `paths`, which must all lie in watched folders."""
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
    """Settings for reading files: those of the first configured folder, but recursive."""
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
def progress(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def find(paths: Sequence[Path], folder: Folder) -> list[bytes]:
    """The files named, and those in the folders named, in order. Raises SettingsError."""

    found: list[bytes] = []
    for path in paths:
        whole = os.fsencode(os.path.abspath(path))
        if os.path.isdir(whole):
            found += sorted(Walk(Scope(whole, folder)))
        elif os.path.exists(whole):
            found.append(whole)
        else:
            raise SettingsError(f"there is no file or folder {path}")
    return list(dict.fromkeys(found))
