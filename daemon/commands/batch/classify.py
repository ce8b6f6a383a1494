"""`tinyastd classify`: classify files and folders once, without a daemon."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from msgspec.structs import replace

from daemon.commands.batch.classify_output import SOURCE, Result, finished_in, shown
from daemon.commands.batch.classify_sinks import Extras, Sink, kind_of, sink
from daemon.commands.batch.finding import find, folder_settings, left_out
from daemon.errors import SettingsError
from daemon.host.files import opened
from daemon.journal.ledger import Identity, claim
from daemon.monitoring.logging import counted, printable
from daemon.monitoring.signals import raise_on_ctrl_c
from daemon.pipeline.decision import check_labels
from daemon.pipeline.prediction import RecordingReader, Rules, ask_more, unreadable
from daemon.protocol.messages import Error, Prediction, Source, digest, file_source, now
from daemon.service.engine_choice import choose_engine
from daemon.settings.schema import Folder, Settings
from tinyast.arrays import Float
from tinyast.audio.content import Content
from tinyast.audio.decoding import check_regular
from tinyast.audio.windows import Window
from tinyast.classifier import Classifier
from tinyast.errors import AudioError
from tinyast.inference.allocator import keep_freed_memory
from tinyast.inference.engine_names import EMBEDDING

# Opens a file for reading; its descriptor is closed at the end. Raises OSError, AudioError.
Opening = Callable[[], AbstractContextManager[int]]


@dataclass(frozen=True)
class Batch:
    """How the files of one call are classified."""

    classifier: Classifier
    folder: Folder  # its settings count for all files
    rules: Rules
    node: str
    workers: int
    embed: bool = False  # whether results have embeddings too
    stopping: threading.Event = field(default_factory=threading.Event)  # no result counts any more

    @classmethod
    def load(cls, settings: Settings, folder: Folder, embed: bool = False) -> Batch:
        """Load the model. Raises SettingsError for labels that it does not know."""
        keep_freed_memory(settings.worker_count)
        classifier = Classifier.load(settings.checkpoint_path, choose_engine(settings).engine)
        check_labels(settings.decision, classifier.labels)
        rules, workers = Rules.of(settings), settings.worker_count
        if embed:
            classifier.check_embeds()
        return cls(classifier, folder, rules, settings.node, workers, embed)

    def windows_of(self, path: bytes) -> int:
        """The number of windows in a file; -1 if it cannot be read."""
        with suppress(OSError, AudioError), opened(path) as fd:
            content = Content(fd, os.fstat(fd).st_size, header_only=True)
            return len(self._reader(content, path).plan)
        return -1

    def classify(self, path: bytes) -> Result:
        """Classify every window of one file."""
        return self.classify_opened(path, partial(opened, path))

    def classify_opened(
        self, path: bytes, opening: Opening, first: int = 0, last: int | None = None
    ) -> Result:
        """Classify windows `first` to `last` - 1 of the file that `opening` opens; None for all.

        A defect of the whole file is said with its last window.
        """
        source, error = file_source(SOURCE, path), None
        file_id = digest(SOURCE, path)  # until the file is open
        messages: list[Prediction] = []
        embeddings: list[Float] = []
        try:
            with opening() as fd:
                stat = os.fstat(fd)
                check_regular(stat)
                file_id = claim(path, SOURCE, Identity.of(stat), None).file_id
                content = Content(fd, stat.st_size, header_only=last is not None)
                reader = self._reader(content, path)
                count = len(reader.plan)
                for number in range(first, count if last is None else min(last, count)):
                    if self.stopping.is_set():
                        break
                    window = reader.plan[number]
                    message, embedding = self._window(reader, window, source, file_id)
                    messages.append(message)
                    embeddings += embedding
                if reader.defect is not None and (last is None or last >= count):
                    error = Error(reader.defect.code, str(reader.defect))
        except AudioError as fault:
            error = Error(fault.code, str(fault))
        except OSError as fault:
            error = unreadable(fault)
        # As the daemon publishes them, without their place in a stream.
        published = [replace(each, node=self.node, published_at=now()) for each in messages]
        return Result(path, published, error, file_id, tuple(embeddings))

    def _window(
        self, reader: RecordingReader, window: Window, source: Source, file_id: str
    ) -> tuple[Prediction, list[Float]]:
        """The prediction, and the embedding if it is wanted."""
        if not self.embed:
            return reader.predict(window, source, file_id), []
        features = reader.features(window)
        [(logits, speech)], [embedding] = ask_more(
            self.classifier, features.picture[None], self.rules, (EMBEDDING,)
        )
        return reader.result(window, features, logits, source, file_id, speech), [embedding[0]]

    def _reader(self, content: Content, path: bytes) -> RecordingReader:
        return RecordingReader(content, path, self.folder, self.classifier, self.rules)

    def results(self, paths: Iterable[bytes]) -> Generator[Result, None, None]:
        """Results in the order of `paths`, computed a few files ahead on threads."""
        waiting: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for path in paths:
                    waiting.append(pool.submit(self.classify, path))
                    if len(waiting) > 4 * self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BaseException:  # such as Ctrl-C: a file may have hours left
                self.stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def run_batch(
    settings: Settings,
    paths: Sequence[Path],
    kind: str | None,
    output: Path | None,
    overwrite: bool,
    formats: str | None,
    extras: Extras,
) -> int:
    """Classify everything named; return how many files failed.

    `kind` is a format of results; None for the one that the suffix of `output` says.
    """
    kind = kind_of(kind, output)
    folder = folder_settings(settings, formats)
    there = find(paths, folder)
    there.check(paths)
    found, missing = there.files, there.missing
    batch = Batch.load(settings, folder, extras.embeddings is not None)
    raise_on_ctrl_c()
    finished = set() if overwrite else _finished(batch, output, kind, found)
    if finished and (extras.embeddings or extras.segments):
        raise SettingsError(
            f"{output} holds {counted(len(finished), 'file')} already, and --embeddings and "
            "--segments would lack them; add --overwrite, or name another --output"
        )
    todo = [path for path in found if shown(path) not in finished]
    with ExitStack() as stack:
        out = stack.enter_context(closing(sink(kind, output, bool(finished), extras.join)))
        more = [stack.enter_context(closing(each)) for each in extras.sinks()]
        advance = stack.enter_context(progress(len(todo)))
        results = stack.enter_context(closing(batch.results(todo)))  # stops threads, if it fails
        lost = (Result(p, [], GONE, digest(SOURCE, p)) for p in missing if shown(p) not in finished)
        failed = _pass_on(chain(lost, results), [out, *more], advance)
    if failed:
        print(f"{failed} of {len(todo) + len(missing)} files failed", file=sys.stderr)
    for words in left_out(there.walk):
        print(words, file=sys.stderr)
    return failed


GONE = Error("vanished", "there is no such file or folder")


def _pass_on(results: Iterable[Result], sinks: Sequence[Sink], advance: Callable[[], None]) -> int:
    """Give each result to all sinks; the number of files that failed."""
    failed = 0
    for result in results:
        for each in sinks:
            each.add(result)
        advance()
        if result.error is not None:
            failed += 1
            words = f"{result.error.text} ({result.error.code})"
            if result.error.code == "format_not_allowed":
                words += "; --formats all reads it"
            print(f"{printable(shown(result.path))}: {words}", file=sys.stderr)
    return failed


def _finished(batch: Batch, output: Path | None, kind: str, found: Sequence[bytes]) -> set[str]:
    """Paths whose results an earlier call wrote to `output`. Raises SettingsError for a table."""
    if output is None or output.is_dir() or not output.exists() or not output.stat().st_size:
        return set()
    if kind not in ("csv", "jsonl"):
        raise SettingsError(f"{output} exists; use --overwrite, or csv or jsonl to resume")

    def windows_of(name: str) -> int:
        path = next((path for path in found if shown(path) == name), os.fsencode(name))
        return batch.windows_of(path)

    finished = finished_in(output, kind, windows_of)
    print(f"resuming: {counted(len(finished), 'file')} already in {output}", file=sys.stderr)
    return finished


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
