"""Working one version of a file through to its end state, one window at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace

from daemon.errors import DAMAGED, FORBIDDEN, GONE, is_passing
from daemon.host.beneath import open_file
from daemon.journal.ledger import Claim, Identity, LedgerRow
from daemon.journal.records import Delivery, Record
from daemon.pipeline.digest import Digest
from daemon.pipeline.job import JobContext, Outcome, Step
from daemon.pipeline.prediction import Listening
from daemon.protocol.messages import FileEnd, Message, Source, file_end, prediction
from daemon.settings.schema import Folder
from tinyast.audio.content import Content
from tinyast.errors import AudioError

log = logging.getLogger(__name__)


class FileJob:
    """A `Job`. `left` is called once, from any thread, when the file is out of its hands."""

    def __init__(
        self,
        claim: Claim,
        folder: Folder,
        context: JobContext,
        left: Callable[[bytes, Outcome], None],
    ) -> None:
        self.claim, self.steps = claim, 0
        self._folder, self._context, self._left = folder, context, left
        self._source = Source("file", claim.source, claim.path)
        self._windows = claim.resume  # predictions handed to delivery
        self._fd: int | None = None
        self._content: Content | None = None
        self._listening: Listening | None = None
        self._digest: Digest | None = None
        self._then: Callable[[], bool] | None = None  # the step that waits for the digest

    def step(self) -> Step:
        """Classify the next window."""
        self.steps += 1
        try:
            more = yield from self._step()
        except OSError as error:
            more = self._machine_or_file(error)
        if not more:
            self.close()
        return more

    def close(self) -> None:
        """Let go of the file. What is committed stays; a restart goes on from there."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        # Until its last message is committed the job is held on to, and what it has read is large.
        self._content = self._listening = self._digest = None

    def _step(self) -> Step:
        if self._fd is None:
            self._fd = open_file(os.fsencode(self._folder.path), self.claim.path)
            opened = Identity.of(os.fstat(self._fd))
            if opened.same_times(self.claim.identity):  # some file systems make inodes up
                self.claim = replace(self.claim, identity=opened)
            if self._changed():
                return self._give_up()
            self._content = Content(self._fd, self.claim.identity.size)
            self._digest = Digest(self._content)
            if self.claim.same_if is not None:
                self._then = self._compare
        if self._then is not None:
            return self._once_digested(self._then)
        try:
            return (yield from self._classify())
        except AudioError as error:
            if self._changed():
                return self._give_up()
            return self._end("failed", error.code, str(error))

    def _classify(self) -> Step:
        assert self._content is not None
        assert self._digest is not None
        if self._listening is None:
            self._listening = Listening(
                self._content,
                self.claim.path,
                self._folder,
                self._context.classifier,
                self._context.rules,
                self._context.stage,
            )
        plan = self._listening.plan
        if self._windows >= len(plan):
            return self._finish([])
        window = plan[self._windows]
        picture, level = self._listening.hear(window)
        self._digest.advance((self._windows + 1) / len(plan))
        self._content.let_go()  # others may be heard before this goes on
        logits = yield picture
        if self._changed():
            return self._give_up()
        body = self._listening.tell(window, logits, level)
        message = prediction(
            self._source, self.claim.file_id, self._windows, body, self.claim.noticed
        )
        self._windows += 1
        if self._windows == len(plan):
            return self._finish([message])
        self._context.deliver(Delivery(Record([message], self._row("open", None))))
        return True

    def _finish(self, last: list[Message]) -> bool:
        if self.claim.missing:
            return self._end(
                "incomplete",
                "cut_short",
                "its header promises more than there is, and nothing was added for "
                f"{self._folder.settle:g} s",
                last,
            )
        return self._end("done", None, None, last)

    def _end(
        self, state: str, code: str | None, text: str | None, last: list[Message] | None = None
    ) -> bool:
        """Commit the end state, with the last prediction if there is one."""
        return self._once_digested(lambda: self._commit_end(state, code, text, last or []))

    def _commit_end(
        self, state: str, code: str | None, text: str | None, last: list[Message]
    ) -> bool:
        heard = self._listening
        end = FileEnd(
            state,
            self._windows,
            None if heard is None else round(heard.duration_s, 6),
            None if heard is None else heard.rate,
            code,
            text,
        )
        messages = [*last, file_end(self._source, self.claim.file_id, end)]
        digest = None if self._digest is None else self._digest.value()
        again = code in ("changed", "vanished")
        self._context.deliver(
            Delivery(
                Record(messages, self._row(state, digest)),
                lambda: self._left(self.claim.path, Outcome(look_again=again)),
            )
        )
        return False

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

    def _once_digested(self, then: Callable[[], bool]) -> bool:
        """Go on with `then` when the file has been read to its end, a piece in each step."""
        self._then = then
        if self._digest is not None and not self._digest.advance(1):
            return True
        self._then = None
        return then()

    def _compare(self) -> bool:
        """If only the file's ctime changed, the ledger takes note, and that is all."""
        row = self.claim.same_if
        assert row is not None
        assert self._digest is not None
        if self._digest.value() != row.digest:
            return True
        self._context.deliver(
            Delivery(
                Record(row=replace(row, identity=self.claim.identity)),
                lambda: self._left(self.claim.path, Outcome()),
            )
        )
        return False

    def _give_up(self) -> bool:
        """It changed or vanished under our hands: what was said of it ends here."""
        if self._windows == 0:
            self._left(self.claim.path, Outcome(look_again=True))
            return False
        assert self._fd is not None
        if os.fstat(self._fd).st_nlink == 0:
            return self._end("incomplete", "vanished", "it was deleted while it was read")
        return self._end("incomplete", "changed", "it was changed while it was read")

    def _machine_or_file(self, error: OSError) -> bool:
        text = str(error.strerror)
        if error.errno in DAMAGED and self.claim.last_try:
            self._digest = None  # to read the file to its end would fail in the same way
            state = "incomplete" if self._windows else "failed"
            return self._end(state, "unreadable", f"{text}; it was tried several times")
        if is_passing(error):
            log.warning("cannot read %s now: %s", os.fsdecode(self.claim.path), text)
            outcome = Outcome(retry=True, errno=error.errno or 0, text=text)
            # Behind the windows handed over before, so that the ledger has them when it is retried.
            self._context.deliver(Delivery(Record(), lambda: self._left(self.claim.path, outcome)))
            return False
        if error.errno in GONE:
            if self._windows == 0:
                self._left(self.claim.path, Outcome(look_again=True))
                return False
            return self._end("incomplete", "vanished", "it was gone before it was read to its end")
        self._digest = None
        if error.errno in FORBIDDEN:
            why = f"{text}; it has to be readable for the user that the daemon runs as"
            return self._end("failed", "permission_denied", why)
        return self._end("failed", "unreadable", text)
