"""Follow a daemon, apply the rules to its messages, and deliver."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from daemon.client import Client, Endpoints, NoAnswer, ask_newest
from daemon.errors import SettingsError
from daemon.host.keeping import CannotKeep, Keeping
from daemon.host.locks import Lock
from daemon.notify.attachments import Newest
from daemon.notify.cooldown import Cooldowns
from daemon.notify.outbox import Outbox
from daemon.notify.rules import Rule, published
from daemon.notify.service import Service, services
from daemon.protocol.decoding import Position, Received, Refused
from daemon.settings.subscribers import Notify

log = logging.getLogger(__name__)

WAIT_S = 0.2  # for a message; how soon a stop and a result are noticed
BATCH = 500  # messages between writes to the disk
RETRY_S = 2.0  # after a refusal, and between questions to a daemon that does not answer
ANSWER_S = 2.0  # for a daemon on this machine to answer
PICTURES = 64  # that wait for the messages about their windows


def read_rules(tables: Sequence[Notify]) -> tuple[list[Rule], dict[str, list[Service]]]:
    """The rules, and the services of each by its name. Raises SettingsError."""
    rules = [Rule(table, number) for number, table in enumerate(tables, 1)]
    if len({rule.name for rule in rules}) < len(rules):
        raise SettingsError("two [[notify]] have the same `name`; give each its own")
    return rules, {rule.name: services(rule.settings, rule.name) for rule in rules}


class Notifier:
    """From one daemon to the services of all rules.

    `report` gets words about notifications that could not be delivered. Raises SettingsError or
    StartError if it cannot begin.
    """

    def __init__(
        self,
        tables: Sequence[Notify],
        daemon: Endpoints,
        state: Path,
        report: Callable[[str], None],
    ) -> None:
        self._daemon, self._report = daemon, report
        self.rules, found = read_rules(tables)
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = Lock(state / "notify.lock", f"the state of notifications in {state}")
        self._kept = Keeping(state / "notify.db")
        self._position = self._kept.get("position", Position)
        kept = self._kept.get("cooldowns", dict[str, Cooldowns]) or {}
        self._cooldowns = {name: kept.get(name) or Cooldowns() for name in found}
        self._outbox = Outbox(found, self._kept, report)
        self._newest = Newest()
        self._late = 0  # sounds that came too late to be worth a notification
        self._halt = threading.Event()

    def stop(self) -> None:
        """End soon. From any thread."""
        self._halt.set()

    def close(self) -> None:
        self._outbox.close()
        self._kept.close()
        self._lock.release()

    def run(self) -> None:
        """Notify until stopped."""
        while not self._halt.is_set():
            at = self._begin()
            if at is None:
                return
            try:
                self._follow(at)
            except Refused as error:
                log.error("the daemon at %s: %s", self._daemon.replay, error)
                self._halt.wait(RETRY_S)

    def _begin(self) -> Position | None:
        """The position to resume at: at a first start, new messages. None if stopped before."""
        waiting = False
        while self._position is None and not self._halt.is_set():
            try:
                self._position = ask_newest(self._daemon, ANSWER_S).position
                self._keep()
                log.info("the first start: begins after message %d", self._position.seq)
            except NoAnswer:
                if not waiting:
                    log.warning("no daemon answers at %s yet; waiting for one", self._daemon.replay)
                    waiting = True
                self._halt.wait(RETRY_S)
        return self._position

    def _follow(self, at: Position) -> None:
        place = self._daemon
        with Client(
            place.publish, place.replay, since=at.seq, journal=at.journal, last_id=at.id,
            keys=place.keys, pictures=PICTURES,
        ) as client:  # fmt: skip
            while not self._halt.is_set():
                received, taken = client.receive(WAIT_S), 0
                while received is not None:
                    self._take_pictures(client)
                    self._hear(received)
                    taken += 1
                    received = client.receive(0) if taken < BATCH else None
                now = time.time()
                self._summarise(now)
                if taken or self._outbox.changed:
                    self._keep()
                self._outbox.work(now)
                self._say_late()

    def _take_pictures(self, client: Client) -> None:
        while client.pictures:
            picture = client.pictures.popleft()
            try:
                source = picture.content.source
            except msgspec.ValidationError as error:
                log.warning("a picture breaks the contract: %s", error)
                continue
            self._newest.show(source.kind, source.name, picture.id, picture.png)

    def _hear(self, received: Received) -> None:
        head = received.head
        self._position = Position.after(head)
        try:
            message = received.content
        except msgspec.ValidationError as error:
            log.warning("message %d breaks the contract: %s", head.seq, error)
            return
        self._newest.hear(message)
        now = time.time()
        for rule in self.rules:
            wanted = rule.settings
            if (found := rule.find(message)) is None:
                continue
            if now - published(message) > wanted.give_up:
                self._late += 1
            elif self._cooldowns[rule.name].lets(found, now, wanted.cooldown):
                self._outbox.add(
                    rule.name, *rule.words(found), now + wanted.give_up,
                    self._newest.of(message, wanted),
                )  # fmt: skip

    def _summarise(self, now: float) -> None:
        for rule in self.rules:
            wanted = rule.settings
            for label, digest in self._cooldowns[rule.name].due(now, wanted.cooldown):
                if wanted.digest:
                    title, text = digest.words(label)
                    self._outbox.add(rule.name, title, text, now + wanted.give_up, {})

    def _keep(self) -> None:
        """Write everything in one transaction: a kill neither loses nor repeats a notification."""
        try:
            self._outbox.keep({"position": self._position, "cooldowns": self._cooldowns})
        except CannotKeep as error:
            log.warning("%s; still notifying", error)

    def _say_late(self) -> None:
        if self._late:
            self._report(f"{self._late} sounds were too old to be notified when they arrived")
            self._late = 0
