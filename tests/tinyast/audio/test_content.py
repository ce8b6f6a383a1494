"""Reading an open file by place: the parts read at once, and those read on demand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tinyast.audio.content import BEGINNING, SMALL, Content


@contextmanager
def content_of(path: Path, header_only: bool = False) -> Iterator[Content]:
    with path.open("rb") as file:
        yield Content(file.fileno(), os.fstat(file.fileno()).st_size, header_only)


@pytest.mark.parametrize("size", [0, 1, BEGINNING, BEGINNING + 1, SMALL, SMALL + 1, 3 * SMALL])
@pytest.mark.parametrize("header_only", [False, True])
def test_gives_what_the_file_holds(tmp_path: Path, size: int, header_only: bool) -> None:
    held = os.urandom(size)
    path = tmp_path / "a"
    path.write_bytes(held)
    with content_of(path, header_only) as content:
        for offset in {0, 5, BEGINNING - 3, size // 2, max(0, size - 7), size, size + 9}:
            for length in (0, 1, 16, BEGINNING, SMALL):
                expected = held[offset : offset + length]
                assert content.read(length, offset) == expected
                assert bytes(content.view(length, offset)) == expected


def test_a_small_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before" * 1_000)
    with content_of(path) as content:
        path.write_bytes(b"behind" * 1_000)
        assert content.read(6_000, 0) == b"before" * 1_000


def test_of_a_large_file_only_the_beginning_is_held(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(SMALL + 1))
    with content_of(path) as content:
        path.write_bytes(b"x" * (SMALL + 1))
        assert content.read(4, 0) == bytes(4)
        assert content.read(4, BEGINNING) == b"xxxx"


def test_a_file_that_was_cut_meanwhile_gives_less(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(2 * SMALL))
    with content_of(path) as content:
        os.truncate(path, BEGINNING)
        assert content.read(SMALL, SMALL) == b""


def test_lets_go_of_all_but_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before" * 1_000)
    with content_of(path) as content:
        assert content.held == 6_000
        content.let_go()
        assert content.held == BEGINNING
        path.write_bytes(b"behind" * 1_000)
        assert content.read(6, 0) == b"before"
        assert content.read(6, 5_994) == b"behind"
