"""Classify one version of a file up to its end state, one window in each step."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from daemon.errors import DAMAGED, GONE, is_passing
from daemon.host.beneath import open_file
from daemon.journal.crashes import MOST_CRASHES
from daemon.journal.ledger import Claim, Identity, LedgerRow
from daemon.journal.records import Delivery, Record
from daemon.pipeline.digest import Digest
from daemon.pipeline.job import JobContext, Outcome
from daemon.pipeline.prediction import Features, RecordingReader, unreadable
from daemon.protocol.messages import Error, Message, end_state, file_end, file_source
from daemon.protocol.picture import Picture
from daemon.settings.schema import Folder
from tinyast.arrays import Float
from tinyast.audio.content import Content
from tinyast.audio.windows import Window
from tinyast.errors import AudioError

log = logging.getLogger(__name__)

T = TypeVar("T")

HEAVY = 32 << 20  # bytes of a window; 5 s of two channels at 384 kHz have at most 15 MB

_CHANGED = Error("changed", "it was changed while it was read")
_DELETED = Error("vanished", "it was deleted while it was read")
_VANISHED = Error("vanished", "it was gone before it was read to its end")

_CRASHED = Error(
    "crashed",
    f"the daemon crashed {MOST_CRASHES} times in a row with this file in work; "
    "`tinyastd reprocess` tries it again",
)


class FileJob:
    """A `Job`. It calls `on_done` exactly once, from any thread."""

    def __init__(
        self,
        claim: Claim,
        folder: Folder,
        context: JobContext,
        on_done: Callable[[bytes, Outcome], None],
    ) -> None:
        self.claim, self.steps = claim, 0
        self.heavy = False
        self._folder, self._context, self._on_done = folder, context, on_done
        self._source = file_source(claim.source, claim.path)
        self.classifier = context.classifier  # one model judges all of a file
        self._windows = claim.resume  # predictions handed to delivery
        self._fd: int | None = None
        self._content: Content | None = None
        self._reader: RecordingReader | None = None
        self._digest: Digest | None = None
        self._asked: tuple[Window, Features] | None = None  # the window that the model is given
        self._then: Callable[[], None] | None = None  # to be done once the digest is complete
        self._results: list[Delivery] = []  # of this step
        self._pictures: list[Picture] = []  # of predictions that are not committed yet
        self._ended = False

    # -- a step --------------------------------------------------------------------------------

    @property
    def source_name(self) -> str:
        return self.claim.source

    @property
    def work(self) -> tuple[str, int]:
        return self.claim.file_id, self._windows

    def prepare(self) -> Float | None:
        """Read the next window."""
        self.steps += 1
        return self._guarded(self._prepare)

    def finish(self, logits: Float | None, speech: float = 0.0) -> list[Delivery]:
        """Its prediction, and the file's end state after the last one."""
        if logits is not None:
            self._guarded(partial(self._predict, logits, speech))
        if self._then is not None and not self._ended:
            self._guarded(self._once_digested)
        results, self._results = self._results, []
        return results

    def more(self) -> bool:
        if self._ended:
            self.close()
        return not self._ended

    def close(self) -> None:
        """Close the file. Committed windows stay; a restart resumes after them."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        # The job lives until its last message is committed, and what it has read is large.
        self._content = self._reader = self._digest = self._asked = None

    def _guarded(self, work: Callable[[], T]) -> T | None:
        """Do part of a step; a file that cannot be read or heard gets its end state."""
        try:
            try:
                return work()
            except AudioError as error:
                if self._changed():
                    self._give_up()
                else:
                    self._end("failed", Error(error.code, str(error)))
        except OSError as error:
            self._machine_or_file(error)
        except MemoryError:
            self._machine_or_file(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
        return None

    def _prepare(self) -> Float | None:
        if self._context.crashes.get(self.claim.file_id, 0) >= MOST_CRASHES:
            self._end("failed", _CRASHED)
            return None
        if self._fd is None and not self._open():
            return None
        if self._then is not None:
            return None
        assert self._content is not None
        assert self._digest is not None
        if self._reader is None:
            self.classifier = self._context.classifier
            self._reader = RecordingReader(
                self._content,
                self.claim.path,
                self._folder,
                self.classifier,
                self._context.rules,
                self._context.stage,
            )
            self.heavy = self.claim.identity.size > HEAVY * max(1, len(self._reader.plan))
            if self.heavy:
                return None  # its first window waits in line as well
        plan = self._reader.plan
        if self._windows >= len(plan):  # a restart came between the last window and the end
            self._end_whole([])
            return None
        window = plan[self._windows]
        features = self._reader.features(window)
        self._asked = window, features
        self._digest.advance((self._windows + 1) / len(plan))
        self._content.let_go()  # other files may take their turns before the next window
        return features.picture

    def _open(self) -> bool:
        """Open the file that was claimed; whether it still is that file."""
        self._fd = open_file(os.fsencode(self._folder.path), self.claim.path)
        opened = Identity.of(os.fstat(self._fd))
        if opened.same_times(self.claim.identity):  # some file systems invent inodes
            self.claim = replace(self.claim, identity=opened)
        if self._changed():
            self._give_up()
            return False
        self._content = Content(self._fd, self.claim.identity.size)
        self._digest = Digest(self._content)
        if self.claim.same_if is not None:
            self._then = self._compare
        return True

    def _predict(self, logits: Float, speech: float) -> None:
        assert self._reader is not None
        assert self._asked is not None
        if self._changed():
            self._give_up()
            return
        window, features = self._asked
        message = self._reader.result(
            window, features, logits, self._source, self.claim.file_id, speech
        )
        self._pictures += self._context.picture(message, features.picture)
        self._windows += 1
        if self._windows == len(self._reader.plan):
            self._end_whole([message])
        else:
            self._commit([message], self._row("open", None))

    def _once_digested(self) -> None:
        """Go on when the file has been read to its end, a piece in each step."""
        assert self._then is not None
        if self._digest is None or self._digest.advance(1):
            then, self._then = self._then, None
            then()

    # -- how it ends ---------------------------------------------------------------------------

    def _end_whole(self, last: list[Message]) -> None:
        """Every window was read."""
        if self.claim.missing:
            text = (
                "its header promises more than there is, and nothing was added for "
                f"{self._folder.settle:g} s"
            )
            self._end("incomplete", Error("cut_short", text), last)
            return
        defect = None if self._reader is None else self._reader.defect
        if defect is None:
            self._end("done", None, last)
        else:
            error = Error(defect.code, str(defect))
            self._end(end_state(error), error, last)

    def _end(self, state: str, error: Error | None, last: list[Message] | None = None) -> None:
        """Commit the end state, with the last prediction if there is one."""
        self._then = partial(self._commit_end, state, error, last or [])

    def _commit_end(self, state: str, error: Error | None, last: list[Message]) -> None:
        reader = self._reader
        end = file_end(
            self._source,
            self.claim.file_id,
            state,
            self._windows,
            error,
            None if reader is None else round(reader.duration_s, 6),
            None if reader is None else reader.rate,
        )
        digest = None if self._digest is None else self._digest.value()
        again = error is not None and error.code in ("changed", "vanished")
        self._commit([*last, end], self._row(state, digest), Outcome(look_again=again))

    def _commit(
        self, messages: list[Message], row: LedgerRow | None, outcome: Outcome | None = None
    ) -> None:
        """Have something committed; with `outcome` as the last thing, after which it is done."""
        record = Record(messages, row, noticed=self.claim.noticed)
        done = None if outcome is None else partial(self._on_done, self.claim.path, outcome)
        self._results.append(Delivery(record, done, self._pictures))
        self._pictures = []
        self._ended = outcome is not None

    def _leave(self, outcome: Outcome) -> None:
        """End silently: no message about this version was published."""
        self._ended = True
        self._on_done(self.claim.path, outcome)

    def _row(self, state: str, digest: bytes | None) -> LedgerRow:
        claim = self.claim
        return LedgerRow(
            claim.path,
            claim.source,
            claim.identity,
            claim.version,
            claim.file_id,
            state,
            self._windows,
            digest,
        )

    def _changed(self) -> bool:
        """Whether the open file is no longer the one that was claimed, or has been deleted."""
        assert self._fd is not None
        now = os.fstat(self._fd)
        if now.st_nlink == 0:
            return True
        return not Identity.of(now).same_content(self.claim.identity)

    def _compare(self) -> None:
        """If only the file's ctime changed, update the ledger, and that is all."""
        row = self.claim.same_if
        assert row is not None
        assert self._digest is not None
        if self._digest.value() == row.digest:
            self._commit([], replace(row, identity=self.claim.identity), Outcome())

    def _give_up(self) -> None:
        """The file changed or vanished while it was read: end what was published about it."""
        if self._windows == 0:
            self._leave(Outcome(look_again=True))
            return
        assert self._fd is not None
        self._end("incomplete", _DELETED if os.fstat(self._fd).st_nlink == 0 else _CHANGED)

    def _machine_or_file(self, error: OSError) -> None:
        if error.errno in GONE and self._windows == 0:
            self._leave(Outcome(look_again=True))
        elif error.errno in GONE:
            self._end("incomplete", _VANISHED)
        elif is_passing(error) and not (error.errno in DAMAGED and self.claim.last_try):
            log.warning("cannot read %s now: %s", os.fsdecode(self.claim.path), error.strerror)
            # Queued behind the windows delivered before, so that a retry finds them in the ledger.
            outcome = Outcome(retry=True, errno=error.errno or 0, text=str(error.strerror))
            self._commit([], None, outcome)
        else:
            self._digest = None  # the content cannot be read to its end
            damaged = error.errno in DAMAGED and self._windows > 0
            self._end("incomplete" if damaged else "failed", unreadable(error))
