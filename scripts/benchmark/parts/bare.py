"""Bare classification: WAV to scores on one core, as often as possible.

    python -m scripts.benchmark.parts.bare FOLDER SECONDS CORE [--engine E] [--checkpoint DIR]

prints how many files it classified per second. It begins when it reads a line, so that several
processes can begin together.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from pathlib import Path

import scripts.benchmark  # noqa: F401 - limits maths libraries to one thread
from tinyast.audio.decoding import read_file
from tinyast.classifier import Classifier
from tinyast.inference.allocator import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("core", type=int)
    parser.add_argument("--engine", default="onnx")
    parser.add_argument("--checkpoint", type=Path)
    given = parser.parse_args()
    os.sched_setaffinity(0, {given.core})
    keep_freed_memory()
    classifier = Classifier.load(given.checkpoint, given.engine)
    paths = sorted(given.folder.iterdir())
    classifier.scores(*read_file(paths[0]))
    print("ready", flush=True)
    sys.stdin.readline()
    begin, done = time.perf_counter(), 0
    for path in itertools.cycle(paths):
        if time.perf_counter() - begin >= given.seconds:
            break
        classifier.scores(*read_file(path))
        done += 1
    print(done / (time.perf_counter() - begin))


if __name__ == "__main__":
    main()
