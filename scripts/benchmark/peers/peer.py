"""One classifier from a WAV file to scores, in a separate process with one thread.

    python -m scripts.benchmark.peers.peer yamnet a.wav --yamnet yamnet.tflite

prints `ready` when it is loaded, and then, for every line that it reads, how many milliseconds the
file took. Start, memory and speed are thus measured per classifier, and several can take turns.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # weights are random, so no download is needed

Classify = Callable[[str], object]
RATE = 16_000  # Hz, of AST and YAMNet
PATCH = 15_600  # samples in one call of YAMNet
OVERLAPPING = 7_680  # samples from one such patch to the next


def tinyast(given: argparse.Namespace) -> Classify:
    """This project as an imported package, on the path that the daemon takes."""
    from tinyast.classifier import Classifier
    from tinyast.inference.allocator import keep_freed_memory

    keep_freed_memory()
    return Classifier.load(given.checkpoint, given.engine).predict_file


def yamnet(given: argparse.Namespace) -> Classify:
    """YAMNet on LiteRT (XNNPACK), patch by patch, the last one anchored to the end.

    Without overlap, or with a patch every 0.48 s, as its authors call it.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(given.yamnet), num_threads=1)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out = interpreter.get_output_details()[0]["index"]

    def classify(path: str) -> object:
        heard = read_at(path, RATE)
        hop = OVERLAPPING if given.overlap else PATCH
        starts = [*range(0, len(heard) - PATCH, hop), len(heard) - PATCH]
        scores = []
        for start in starts:
            interpreter.set_tensor(into, heard[start : start + PATCH])
            interpreter.invoke()
            scores.append(interpreter.get_tensor(out)[0])
        return np.mean(scores, axis=0)

    return classify


def ast(given: argparse.Namespace) -> Classify:
    """Hugging Face's pipeline with its default AST (86 M parameters) and random weights."""
    import torch
    from transformers import (
        ASTConfig,
        ASTFeatureExtractor,
        ASTForAudioClassification,
        AudioClassificationPipeline,
    )

    torch.set_num_threads(1)
    torch.manual_seed(0)
    pipeline: Any = AudioClassificationPipeline(
        model=ASTForAudioClassification(ASTConfig(num_labels=527)).eval(),
        feature_extractor=ASTFeatureExtractor(),
        device="cpu",
    )
    return lambda path: pipeline({"raw": read_at(path, RATE), "sampling_rate": RATE})


def cnn14(given: argparse.Namespace) -> Classify:
    """PANNs' Cnn14 in its published layer sizes, with random weights."""
    from scripts.benchmark.peers.panns import Cnn14

    return _panns(Cnn14())


def mobilenetv2(given: argparse.Namespace) -> Classify:
    """PANNs' MobileNetV2 in its published layer sizes, with random weights."""
    from scripts.benchmark.peers.panns import MobileNetV2

    return _panns(MobileNetV2())


def _panns(network: Any) -> Classify:
    import torch

    from scripts.benchmark.peers.panns import RATE as PANNS_RATE
    from scripts.benchmark.peers.panns import log_mel

    torch.set_num_threads(1)
    network.eval()

    def classify(path: str) -> object:
        with torch.inference_mode():
            return network(log_mel(torch.from_numpy(read_at(path, PANNS_RATE)))).numpy()

    return classify


def read_at(path: str, rate: int) -> Any:
    """Read a file with libsndfile and resample it with soxr's HQ; (n,) float32 at `rate` Hz."""
    import soundfile
    import soxr

    samples, own = soundfile.read(path, dtype="float32")
    return soxr.resample(samples, own, rate, quality="HQ")


PEERS: dict[str, Callable[[argparse.Namespace], Classify]] = {
    "tinyast": tinyast,
    "yamnet": yamnet,
    "ast": ast,
    "cnn14": cnn14,
    "mobilenetv2": mobilenetv2,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("wav")
    parser.add_argument("--engine", default="onnx")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--yamnet", type=Path)
    parser.add_argument("--overlap", action="store_true", help="YAMNet's patches overlap.")
    parser.add_argument("--core", type=int, help="Run on this core only.")
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    try:
        classify = PEERS[given.name](given)
    except ModuleNotFoundError as error:
        print(f"missing {error.name}", flush=True)
        return
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        classify(given.wav)
        print(1000 * (time.perf_counter() - begin), flush=True)


if __name__ == "__main__":
    main()
