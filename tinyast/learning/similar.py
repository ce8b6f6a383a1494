"""The windows that sound most like a given one, by their embeddings."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tinyast.arrays import Float


@dataclass(frozen=True, order=True)
class Match:
    """A window that was found."""

    similarity: float  # from -1 to 1, which only the window itself has
    path: str = field(compare=False)
    start_s: float = field(compare=False)
    end_s: float = field(compare=False)


@dataclass(frozen=True)
class Place:
    """Where a window is, with its embedding, (d,)."""

    path: str
    start_s: float
    end_s: float
    embedding: Float


def _unit(rows: Float) -> NDArray[np.float64]:
    long = rows.astype(np.float64)
    unit: NDArray[np.float64] = long / np.maximum(np.linalg.norm(long, axis=1), 1e-12)[:, None]
    return unit


def nearest(wanted: Float, places: Iterable[Place], count: int) -> list[Match]:
    """The `count` places most like `wanted`, (k, d), best first.

    Of windows that overlap in one file, only the best is kept.
    """
    directions = _unit(wanted)
    matches = (_match(directions, place) for place in places)
    best = heapq.nlargest(count, _without_overlap(matches))
    return sorted(best, reverse=True)


def _match(directions: NDArray[np.float64], place: Place) -> Match:
    """`directions` are unit vectors, (k, d); the cosine with the nearest counts."""
    value = float((_unit(place.embedding[None]) @ directions.T).max())
    return Match(value, place.path, place.start_s, place.end_s)


def _without_overlap(matches: Iterable[Match]) -> Iterator[Match]:
    """The matches, which come in the order of files and times, without worse ones beside them."""
    best: Match | None = None
    for match in matches:
        if best is not None and match.path == best.path and match.start_s < best.end_s:
            if match.similarity > best.similarity:
                best = match
            continue
        if best is not None:
            yield best
        best = match
    if best is not None:
        yield best
