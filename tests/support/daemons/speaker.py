"""A process that speaks like a daemon: its journal, delivery and replay, without sources or model.

    python tests/support/daemons/speaker.py STATE PUBLISH REPLAY

It reads commands from standard input: `say N` publishes N messages of several types, each with a
separate path, `beat` a heartbeat, and `sync` prints `synced` once all of that is done.
"""

from __future__ import annotations

import random
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from msgspec.structs import replace
from saying import predictions

from daemon.delivery.endpoints import bind
from daemon.delivery.publisher import DeliveryThread
from daemon.delivery.replay import ReplayThread
from daemon.journal.records import Delivery, Record
from daemon.journal.writer import Journal
from daemon.monitoring.metrics import Tally
from daemon.monitoring.service_thread import Running
from daemon.protocol.messages import Message, file_end, file_source, status
from daemon.protocol.states import Backlog, DaemonStatus, Heartbeat
from daemon.settings.schema import JournalLimits


def messages(count: int) -> Iterator[Message]:
    """Messages of several types, each with a path that no other message has."""
    (sample,) = predictions(1)
    for _ in range(count):
        name = uuid.uuid4().hex
        source = file_source("in", f"/{name}".encode())
        kind = random.choice(("prediction", "prediction", "file", "status"))
        if kind == "prediction":
            yield replace(sample, id=name, source=source, file_id=name)
        elif kind == "file":
            yield file_end(source, name, "done", 1, None, 5.0, 16_000)
        else:
            yield status(name, 1, "source_back", "a folder is back", source)


def no_status() -> DaemonStatus:
    raise NotImplementedError


def main(state: Path, publish: str, replay: str) -> None:
    run_id = str(uuid.uuid4())
    with ExitStack() as stack:
        endpoints = stack.enter_context(bind(publish, replay, insecure=False))
        journal = stack.enter_context(closing(Journal(state, "test", run_id)))
        tally = Tally()
        delivery = DeliveryThread(journal, endpoints.publisher, JournalLimits(), tally)
        replayer = ReplayThread(state, endpoints.router, journal.uuid, no_status, tally)
        stack.enter_context(Running([delivery, replayer]))
        print("ready", flush=True)
        for line in sys.stdin:
            command, _, count = line.partition(" ")
            if command == "say":
                for message in messages(int(count)):
                    delivery.put(Delivery(Record([message])))
            elif command == "sync\n":
                delivery.put(Delivery(Record(), lambda: print("synced", flush=True)))
            else:
                delivery.beat(
                    Heartbeat(
                        run_id=run_id,
                        node="test",
                        sources=[],
                        backlog=Backlog(0, 0),
                        blocked=None,
                    )
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
