"""The stream between the capture process and the daemon, cut anywhere."""

from __future__ import annotations

import itertools
import os

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from daemon.sources.microphone.framing import Block, Failure, Hello, Item, Missed, Parser, write

samples = hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32))
items = st.one_of(
    st.builds(Hello, st.text(), st.integers(1, 384_000), st.integers(1, 64)),
    st.builds(Block, st.floats(0, 1e12), st.booleans(), samples),
    st.builds(Missed, st.integers(0, 2**64 - 1)),
    st.builds(Failure, st.text(), st.text()),
)


def written(given: list[Item]) -> bytes:
    reading, writing = os.pipe()
    try:
        for item in given:
            write(writing, item)
        os.close(writing)
        with os.fdopen(os.dup(reading), "rb") as pipe:
            return pipe.read()
    finally:
        os.close(reading)


def check_same(found: list[Item], expected: list[Item]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, Block) and isinstance(other, Block):
            assert (one.at, one.overflow) == (other.at, other.overflow)
            np.testing.assert_array_equal(one.samples, other.samples)
        else:
            assert one == other


@given(st.lists(items, max_size=6), st.data())
def test_whatever_pieces_a_pipe_gives(given: list[Item], data: st.DataObject) -> None:
    stream = written(given)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
    edges = [0, *sorted(cuts), len(stream)]
    parser = Parser()
    found = [
        item
        for first, last in itertools.pairwise(edges)
        for item in parser.feed(stream[first:last])
    ]
    check_same(found, given)


def test_every_single_cut() -> None:
    given: list[Item] = [
        Hello("Mikrofon ä", 44_100, 2),
        Block(1.5, False, np.arange(5, dtype=np.float32)),
        Missed(7),
        Block(2.5, True, np.zeros(0, np.float32)),
        Failure("stopped", "the stream stopped by itself"),
    ]
    stream = written(given)
    for cut in range(len(stream) + 1):
        parser = Parser()
        check_same([*parser.feed(stream[:cut]), *parser.feed(stream[cut:])], given)
    parser = Parser()
    one_by_one = [item for i in range(len(stream)) for item in parser.feed(stream[i : i + 1])]
    check_same(one_by_one, given)


def test_more_than_a_pipe_holds_at_once() -> None:
    import threading

    reading, writing = os.pipe()
    block = Block(1.0, False, np.arange(1 << 20, dtype=np.float32))
    writer = threading.Thread(target=write, args=(writing, block))
    writer.start()
    parser = Parser()
    found: list[Item] = []
    while not found:
        found += list(parser.feed(os.read(reading, 1 << 16)))
    writer.join()
    check_same(found, [block])
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        write(writing, Missed(1))
    os.close(writing)


def test_what_is_no_such_stream() -> None:
    with pytest.raises(msgspec.DecodeError):
        list(Parser().feed(b"\x01\x00\x00\x00X"))
