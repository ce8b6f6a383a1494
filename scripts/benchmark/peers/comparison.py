"""This project beside other classifiers: a WAV of 5 s to scores, on one core, in turns."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.machine import memory_mb
from scripts.benchmark.served import Bed
from scripts.benchmark.sound import recording

WARM_UP = 3


@dataclass(frozen=True)
class Peer:
    """A classifier: its title, its arguments for `peer`, and how to install it."""

    title: str
    words: tuple[str, ...]
    install: str = ""
    slow: bool = False  # takes seconds


PEERS = (
    Peer("tinyast", ("tinyast",)),
    Peer("tinyast, int8", ("tinyast", "--engine", "int8")),
    Peer("tinyast, fine model", ("tinyast", "--checkpoint", "esc50-fine")),
    Peer("YAMNet on LiteRT", ("yamnet",), "pip install -e '.[peers]'"),
    Peer("YAMNet on LiteRT, overlap", ("yamnet", "--overlap"), "pip install -e '.[peers]'"),
    Peer("PANNs MobileNetV2, layer sizes", ("mobilenetv2",), "pip install -e '.[train]'"),
    Peer("PANNs Cnn14, layer sizes", ("cnn14",), "pip install -e '.[train]'"),
    Peer("Hugging Face AST pipeline", ("ast",), "pip install -e '.[train]'", slow=True),
)
US = PEERS[0].title


class Running:
    """A loaded peer in its process."""

    def __init__(self, process: subprocess.Popen[str], ready_s: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.ready_s = process, ready_s
        self._say: IO[str] = process.stdin
        self._hear: IO[str] = process.stdout

    def classify(self) -> float:
        """Milliseconds for the file, once."""
        print("go", file=self._say, flush=True)
        return float(self._hear.readline())


@contextmanager
def started(peer: Peer, wav: Path, bed: Bed, yamnet: Path, core: int) -> Iterator[Running | str]:
    """The running peer on one core, or a description of the missing part."""
    command = [
        sys.executable,
        "-m",
        "scripts.benchmark.peers.peer",
        *peer.words,
        str(wav),
        "--core",
        str(core),
    ]
    if peer.words[0] == "yamnet":
        if not yamnet.is_file():
            yield f"no model at {yamnet}; name it with --yamnet"
            return
        command += ["--yamnet", str(yamnet)]
    if peer.words[0] == US and "--checkpoint" not in peer.words and bed.checkpoint is not None:
        command += ["--checkpoint", str(bed.checkpoint)]
    begin = time.perf_counter()
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline().strip()
            if said == "ready":
                yield Running(process, time.perf_counter() - begin)
            else:
                yield f"{said or 'it cannot be run here'}: {peer.install}"
        finally:
            process.kill()


def measure(bed: Bed, counts: Counts, yamnet: Path) -> list[Figure]:
    """Times of all peers, round by round, and their ratios; then start and memory of each."""
    core = max(os.sched_getaffinity(0))
    with bed.folder() as folder, ExitStack() as stack:
        wav = folder / "a.wav"
        wav.write_bytes(recording(0))
        running: dict[Peer, Running] = {}
        missing: list[Figure] = []
        for peer in PEERS:
            found = stack.enter_context(started(peer, wav, bed, yamnet, core))
            if isinstance(found, str):
                missing.append(Figure(peer.title, "ms", note=found))
            else:
                running[peer] = found
        times = _in_turn(running, counts)
        memory = [
            Figure(f"memory, {peer.title}", "MB", (memory_mb(one.process.pid, "VmHWM"),), "peak")
            for peer, one in running.items()
        ]
    starts = [
        Figure(f"loaded, {peer.title}", "s", (one.ready_s,), "after exec")
        for peer, one in running.items()
    ]
    figures = [
        Figure(peer.title, "ms", tuple(by_round.values())) for peer, by_round in times.items()
    ]
    return [*figures, *missing, *_ratios(times), *starts, *memory]


def _in_turn(running: dict[Peer, Running], counts: Counts) -> dict[Peer, dict[int, float]]:
    """Milliseconds of each peer by round; slow peers take part in only a few rounds.

    Each round has a random order, because a peer that follows a large network finds cold caches.
    """
    order = random.Random(0)
    times: dict[Peer, dict[int, float]] = {peer: {} for peer in running}
    for _ in range(WARM_UP):
        for peer, one in running.items():
            if not peer.slow:
                one.classify()
    every = max(1, counts.rounds // counts.slow_rounds)
    for number in range(counts.rounds):
        for peer in order.sample([*running], len(running)):
            if not peer.slow or number % every == 0:
                times[peer][number] = running[peer].classify()
    return times


def _ratios(times: dict[Peer, dict[int, float]]) -> list[Figure]:
    """How many files each of our engines classifies while a peer classifies one, by round."""
    ours = {peer: by_round for peer, by_round in times.items() if peer.words[0] == US}
    return [
        Figure(
            f"throughput over {peer.title}{us.title.removeprefix(US)}",
            "x",
            tuple(value / mine[number] for number, value in by_round.items() if number in mine),
        )
        for us, mine in ours.items()
        for peer, by_round in times.items()
        if peer not in ours
    ]
