"""Receive every message of a tinyast daemon, and lose none. Needs only pyzmq.

    python listen.py [--since 0]

Prints one line for each message: its seq, a summary, and the path of the sound, with tabs between.
docs/messages.md is the contract. The parts that matter here:

* Every message is two frames, a topic and a JSON object.
* `seq` numbers all messages: 1, 2, 3, … We keep one number, up to which we have had every message.
  If the next message is not the one after it, or a heartbeat names a newer one, some were lost.
* A second socket sends lost messages again: ask it for everything after our number. We ask for the
  newest message that we have, too: if another is in its place, the daemon's journal was put back
  (a restored snapshot, say), and we go back to where the two part.
* A daemon with `[pictures] publish = true` also publishes what its model saw of each window: a PNG
  in base64. Pictures have no seq, and replay has none. `--picture FILE` saves the next one.
* A heartbeat comes every 5 s. If none comes, the daemon hangs or is gone, or the connection is.
* A daemon with keys accepts only clients it knows: both sockets send our key and check its key.
"""

import argparse
import base64
import json
import sys
from collections.abc import Iterator
from typing import Any

import zmq
import zmq.auth

REMEMBERED = 10_000  # messages whose id we keep, in case the journal is put back
ANSWER_MS = 5_000  # a running daemon answers far sooner
SILENT_MS = 15_000  # three heartbeats

Message = dict[str, Any]
Batch = list[tuple[str, Message]]  # with their topics

context = zmq.Context()


def read_keys(server: str, own: str) -> None:
    """Use these keys on all sockets: the daemon's public key and our own pair."""
    context.setsockopt(zmq.CURVE_SERVERKEY, zmq.auth.load_certificate(server)[0])
    public, secret = zmq.auth.load_certificate(own)
    context.setsockopt(zmq.CURVE_PUBLICKEY, public)
    if secret is None:
        sys.exit(f"listen.py: {own} holds no secret key; name the file that ends in key_secret")
    context.setsockopt(zmq.CURVE_SECRETKEY, secret)


def ask(endpoint: str, **request: Any) -> tuple[Message, list[tuple[bytes, bytes]]] | None:
    """Ask replay: its header, and a list of (topic, body) as they were published."""
    with context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        socket.send_json(request)
        if not socket.poll(ANSWER_MS):
            return None
        header, *frames = socket.recv_multipart()
    answer = json.loads(header)
    if "error" in answer:
        sys.exit(f"listen.py: the daemon refuses: {answer['error']['text']}")
    return answer, list(zip(frames[::2], frames[1::2], strict=True))


class Place:
    """Our place in the stream: we have had every message up to `position`."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.journal: str | None = None  # seq counts within one journal
        self.ids: dict[int, str] = {}  # by seq, of the messages that we have had; newest last

    def note(self, message: Message) -> None:
        self.ids.pop(message["seq"], None)
        self.ids[message["seq"]] = message["id"]
        if len(self.ids) > REMEMBERED:
            del self.ids[next(iter(self.ids))]

    def is_next(self, message: Message) -> bool | None:
        """Whether a published message is the next one; None if replay has to tell."""
        seq, id = message["seq"], message["id"]
        if message["journal"] != self.journal or seq > self.position + 1:
            return None
        if seq == self.position + 1:
            self.note(message)
            self.position = seq
            return True
        return False if self.ids.get(seq, id) == id else None

    def since(self) -> int:
        """What to ask replay for: from the newest message that we have, if we know its id."""
        return self.position - (self.position in self.ids)

    def take(self, header: Message, batch: Batch) -> Batch | None:
        """The new messages in an answer of replay; None if it has to be asked from elsewhere."""
        is_other = self.journal not in (None, header["journal"])
        self.journal = header["journal"]
        if is_other or self.was_put_back(header, batch):
            warn("the daemon's journal is another one or was put back; comparing it with ours")
            oldest = min(self.ids, default=0)
            if not is_other and oldest >= self.position:  # not even the oldest message is there
                oldest, self.ids = 0, {}
            self.position = oldest
            return None
        if header["oldest"] > self.position + 1:
            warn(f"{header['oldest'] - self.position - 1} messages were lost: they are deleted")
        new = [(topic, message) for topic, message in batch if self.is_new(message)]
        for _, message in batch:
            self.note(message)
        self.position = header["next"]
        return new

    def was_put_back(self, header: Message, batch: Batch) -> bool:
        if header["newest"] < self.position:
            return True
        known = self.ids.get(self.position)
        if known is None or header["oldest"] > self.position:
            return False
        return not batch or batch[0][1]["id"] != known

    def is_new(self, message: Message) -> bool:
        seq: int = message["seq"]
        return seq > self.position and self.ids.get(seq) != message["id"]


def warn(text: str) -> None:
    print(f"listen.py: {text}", file=sys.stderr)


def listen(publish: str, replay: str, since: int | None) -> Iterator[tuple[str, Message]]:
    """Every message after seq `since`, each once, as (topic, message); None: from now on.

    Pictures come as they are published; each before the prediction that has the same `id`.
    """
    subscriber = context.socket(zmq.SUB)
    subscriber.subscribe("tinyast.v1.")
    subscriber.connect(publish)  # before asking replay, so that no message falls between the two

    answer = ask(replay, since=0, limit=1)
    if answer is None:
        sys.exit(f"listen.py: no daemon answers at {replay}; start one with `tinyastd run`")
    place = Place(answer[0]["newest"] if since is None else since)
    behind = True  # whether replay has messages that we have not had

    while True:
        if behind:
            answer = ask(replay, since=place.since())
            if answer is None:
                warn("the daemon does not answer; asking again")
                continue
            header, pairs = answer
            batch = [(topic.decode(), json.loads(body)) for topic, body in pairs]
            new = place.take(header, batch)
            if new is not None:
                yield from new
                behind = place.position < header["newest"]
        elif subscriber.poll(SILENT_MS):
            topic, body = subscriber.recv_multipart()
            message = json.loads(body)
            if message["type"] == "heartbeat":
                behind = place.journal != message["journal"]
                behind |= place.position != max(message["last"].values())
            elif message["type"] == "picture":
                yield topic.decode(), message
            elif "seq" in message:  # types added later may have none
                is_next = place.is_next(message)
                behind = is_next is None
                if is_next:
                    yield topic.decode(), message
        else:
            warn("no sign of life from the daemon; connecting again")
            subscriber.disconnect(publish)
            subscriber.connect(publish)


def line(topic: str, message: Message) -> str:
    """A message as one line: seq, what it says, path."""
    what = topic.removeprefix("tinyast.v1.")
    if message["type"] == "prediction":
        what = f"{message['label']} {message['score']:.3f}"
    path = (message["source"] or {}).get("path")
    return f"{message['seq']}\t{what}\t{json.dumps(path)}"  # JSON, so that no name breaks the line


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the messages of a tinyast daemon.")
    parser.add_argument("--publish", default="tcp://127.0.0.1:5755", help="its live messages")
    parser.add_argument("--replay", default="tcp://127.0.0.1:5756", help="its stored messages")
    parser.add_argument("--server-key", help="the daemon's public key file, server.key")
    parser.add_argument("--own-key", help="our own secret key file, NAME.key_secret")
    parser.add_argument("--since", type=int, help="begin after this seq; 0 for everything stored")
    parser.add_argument("--picture", help="save the next picture to this file (PNG)")
    parser.add_argument("--count", type=int, help="stop after this many files")
    options = parser.parse_args()
    if (options.server_key is None) != (options.own_key is None):
        parser.error("--server-key and --own-key go together")
    if options.server_key is not None:
        read_keys(options.server_key, options.own_key)

    files = 0
    for topic, message in listen(options.publish, options.replay, options.since):
        if message["type"] == "picture":
            if options.picture is not None:
                with open(options.picture, "wb") as file:
                    file.write(base64.b64decode(message["png"]))
                options.picture = None
            continue
        print(line(topic, message), flush=True)
        files += message["type"] == "file"
        if files == options.count:
            return


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
