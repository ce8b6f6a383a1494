"""Receive every message of a tinyast daemon, and lose none. Needs only pyzmq.

    python listen.py [--since 0]

Prints one line for each message: its seq, a summary, and the path of the sound, with tabs between.
docs/messages.md is the contract. The parts that matter here:

* Every message is two frames, a topic and a JSON object.
* `seq` numbers all messages, and `prev` is the seq of the previous message of the same type.
  A `prev` that we have not seen reveals a loss; so does a `last` in the heartbeat beyond our seq.
* A second socket sends lost messages again: ask it for everything after the last seq we have.
* A heartbeat comes every 5 s. If none comes, the daemon hangs or is gone, or the connection is.
* A daemon with keys accepts only clients it knows: both sockets send our key and check its key.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import zmq
import zmq.auth

TYPES = ("prediction", "file", "event", "gap", "status")  # except the heartbeat, which has no seq
ANSWER_MS = 5_000  # a running daemon answers far sooner
SILENT_MS = 15_000  # three heartbeats

Message = dict[str, Any]

context = zmq.Context()


def read_keys(server: str, own: str) -> None:
    """Use these keys on all sockets: the daemon's public key and our own pair."""
    context.setsockopt(zmq.CURVE_SERVERKEY, zmq.auth.load_certificate(server)[0])
    public, secret = zmq.auth.load_certificate(own)
    context.setsockopt(zmq.CURVE_PUBLICKEY, public)
    if secret is None:
        sys.exit(f"listen.py: {own} holds no secret key; name the file that ends in key_secret")
    context.setsockopt(zmq.CURVE_SECRETKEY, secret)


def ask(endpoint: str, **request: Any) -> tuple[Message, list[tuple[bytes, bytes]]]:
    """Ask replay: its header, and a list of (topic, body) as they were published."""
    with context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        socket.send_json(request)
        if not socket.poll(ANSWER_MS):
            sys.exit(f"listen.py: no daemon answers at {endpoint}; start one with `tinyastd run`")
        header, *frames = socket.recv_multipart()
    answer = json.loads(header)
    if "error" in answer:
        sys.exit(f"listen.py: the daemon refuses: {answer['error']['text']}")
    return answer, list(zip(frames[::2], frames[1::2], strict=True))


def listen(publish: str, replay: str, since: int | None) -> Iterator[tuple[str, Message]]:
    """Every message after seq `since`, each once, as (topic, message); None: from now on."""
    subscriber = context.socket(zmq.SUB)
    subscriber.subscribe("tinyast.v1.")
    subscriber.connect(publish)  # before asking replay, so that nothing falls between the two

    if since is None:
        since = ask(replay, since=0, limit=1)[0]["newest"]
    seen = dict.fromkeys(TYPES, since)  # of each type, the newest seq we have had
    journal = None  # seq counts within one journal
    missing: int | None = since  # replay has to give what comes after this seq; None: nothing

    while True:
        if missing is not None:
            header, batch = ask(replay, since=missing)
            if journal not in (None, header["journal"]) or missing > header["newest"]:
                seen, missing = dict.fromkeys(TYPES, 0), 0  # the daemon counts anew, so do we
                journal = header["journal"]
                continue
            journal, missing = header["journal"], header["next"]
        elif subscriber.poll(SILENT_MS):
            topic, body = subscriber.recv_multipart()
            header, batch = None, [(topic, body)]
        else:
            print("listen.py: nothing is heard of the daemon; connecting again", file=sys.stderr)
            subscriber.disconnect(publish)
            subscriber.connect(publish)
            continue

        for topic, body in batch:
            message = json.loads(body)
            kind = message["type"]
            if message["journal"] != journal:
                missing = 0
            elif kind == "heartbeat":
                late = [seen[t] for t, seq in message["last"].items() if seq > seen.get(t, seq)]
                missing = min(late, default=None)
            elif kind not in TYPES or message["seq"] <= seen[kind]:
                pass  # of a later version, or had before
            elif header is None and message["prev"] > seen[kind]:
                missing = seen[kind]
            else:
                seen[kind] = message["seq"]
                yield topic.decode(), message

        if header is not None and header["next"] == header["newest"]:
            seen = {kind: max(seq, header["newest"]) for kind, seq in seen.items()}
            missing = None  # all is there; go on with what is published


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
    parser.add_argument("--count", type=int, help="stop after this many files")
    options = parser.parse_args()
    if (options.server_key is None) != (options.own_key is None):
        parser.error("--server-key and --own-key go together")
    if options.server_key is not None:
        read_keys(options.server_key, options.own_key)

    files = 0
    for topic, message in listen(options.publish, options.replay, options.since):
        print(line(topic, message), flush=True)
        files += message["type"] == "file"
        if files == options.count:
            return


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
