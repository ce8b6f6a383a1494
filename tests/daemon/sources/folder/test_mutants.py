"""WAV files broken at random: all get an answer, and the daemon survives."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED
from fuzzing import read_windows
from running import Daemon, of_type, stress
from sounds import header, noise, wav_bytes

from tinyast import Classifier

EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFE, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)


def originals() -> list[bytes]:
    """A second of each recording as published, under a header that fits it."""
    seconds = 44_100 * 2
    return [
        header(seconds, 44_100) + path.read_bytes()[44 : 44 + seconds]
        for path in sorted((SHARED / "esc50" / "original").glob("*.wav"))
    ]


def made() -> list[bytes]:
    """One file of each encoding and container."""
    samples = noise(0.5)
    return [
        wav_bytes(samples, 16_000, subtype, container)
        for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
        for container in ("WAV", "WAVEX", "RF64")
    ]


def mutant(chance: random.Random, parents: list[bytes]) -> bytes:
    """One parent with one to three faults."""
    data = bytearray(chance.choice(parents))
    for _ in range(chance.randint(1, 3)):
        chance.choice((flip_header, flip_anywhere, field, cut, splice, insert, drop))(
            data, chance, parents
        )
    return bytes(data)


def flip_header(data: bytearray, chance: random.Random, parents: list[bytes]) -> None:
    for _ in range(chance.randint(1, 8)):
        if data:
            data[chance.randrange(min(len(data), 100))] = chance.randrange(256)


def flip_anywhere(data: bytearray, chance: random.Random, parents: list[bytes]) -> None:
    for _ in range(chance.randint(1, 50)):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def field(data: bytearray, chance: random.Random, parents: list[bytes]) -> None:
    """An extreme in place of a header's number."""
    kind, step = chance.choice((("<I", 4), ("<H", 2)))
    at = chance.randrange(0, 60, 2)
    if at + step <= len(data):
        value = chance.choice(EXTREMES) % 2 ** (8 * step)
        data[at : at + step] = struct.pack(kind, value)


def cut(data: bytearray, chance: random.Random, parents: list[bytes]) -> None:
    del data[chance.randrange(chance.choice((60, len(data))) + 1) :]


def splice(data: bytearray, chance: random.Random, parents: list[bytes]) -> None:
    """The beginning of one file, the rest of another."""
    other = chance.choice(parents)
    at = chance.choice((12, 20, 36, 44, 60))
    data[at:] = other[chance.choice((0, at)) :]


def insert(data: bytearray, chance: random.Random, parents: list[bytes]) -> None:
    at = chance.randrange(min(len(data), 100) + 1)
    data[at:at] = chance.randbytes(chance.randint(1, 40))


def drop(data: bytearray, chance: random.Random, parents: list[bytes]) -> None:
    at = chance.randrange(min(len(data), 100) + 1)
    del data[at : at + chance.randint(1, 40)]


def mutants(count: int, seed: int, parents: list[bytes]) -> Iterator[bytes]:
    chance = random.Random(seed)
    return (mutant(chance, parents) for _ in range(count))


@pytest.fixture(scope="module")
def parents() -> list[bytes]:
    return originals() + made()


def test_a_folder_of_mutants_leaves_each_with_one_end_state_and_the_daemon_alive(
    tmp_path: Path, parents: list[bytes]
) -> None:
    config = tmp_path / "tinyast.toml"
    config.write_text(f'[[folder]]\npath = "{tmp_path}/in"\nname = "in"\nsettle = 0.5\n')
    one = Daemon(tmp_path, "--config", str(config))
    try:
        one.start()
        count = stress(1_000)
        paths = {one.folder / f"{n:04}.wav" for n in range(count)}
        for path, data in zip(sorted(paths), mutants(count, 1, parents), strict=True):
            path.write_bytes(data)
        last = one.folder / "last.wav"
        last.write_bytes(wav_bytes(noise(1)))
        heard = list_until(one, count + 1)
        ends = Counter(Path(m["source"]["path"]) for m in heard if m["type"] == "file")
        assert set(ends) == {*paths, last}
        assert set(ends.values()) == {1}
        states = Counter(m["state"] for m in heard if m["type"] == "file")
        assert set(states) == {"done", "failed", "incomplete"}, "the mutants are too tame"
        for message in heard:
            if message["type"] == "file":
                assert (message["error"] is None) == (message["state"] == "done")
        assert one.stop() == 0
        lines = one.log.read_text().splitlines()
        assert all(line.startswith("{") for line in lines)
        assert not [line for line in one.logged() if line["level"] in ("warning", "error")]
    finally:
        one.clean_up()


def list_until(one: Daemon, ends: int) -> list[dict[str, Any]]:
    """Everything said until that many files have ended, and until another has after them."""
    one.ends(ends, timeout=200)
    marker = one.folder / "marker.wav"
    marker.write_bytes(wav_bytes(noise(0.5)))
    heard = one.hear(
        lambda r: any(m["source"]["path"] == str(marker) for m in of_type(r[-1:], "file"))
    )
    messages = [received.message for received in heard if received.message["source"]]
    return [m for m in messages if m["source"]["path"] != str(marker)]


@pytest.mark.parametrize("heard", [False, True], ids=["decoded", "classified"])
def test_mutants_raise_nothing_but_the_errors_that_are_meant(
    tmp_path: Path, parents: list[bytes], heard: bool
) -> None:
    classifier = Classifier.load() if heard else None
    path = tmp_path / "mutant.wav"
    ended: Counter[str] = Counter()
    for data in mutants(stress(2_000 if heard else 20_000), 2 + heard, parents):
        path.write_bytes(data)
        ended[read_windows(path, classifier)] += 1
    assert ended["read"] > 0
    assert len(ended) > 5, f"the mutants are too tame: {ended}"


@pytest.mark.parametrize("kind", ["flac", "ogg", "mp3"])
def test_compressed_mutants_raise_nothing_but_the_errors_that_are_meant(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    subtype = {"flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}[kind]
    parents = [wav_bytes(noise(1, 44_100, n), 44_100, subtype, kind.upper()) for n in range(4)]
    path = tmp_path / "mutant"
    ended: Counter[str] = Counter()
    for data in mutants(stress(2_000), 4, parents):
        path.write_bytes(data)
        ended[read_windows(path, None)] += 1
    assert len(ended) > 2, f"the mutants are too tame: {ended}"
    capfd.readouterr()  # libmpg123 complains about them on standard error
