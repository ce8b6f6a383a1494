"""Limit the answers of services, all of which Apprise would have `requests` read into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError

MOST_BYTES = 1 << 20  # of one answer; those of Apprise's services have some kB


class _Bounded(HTTPAdapter):
    def send(self, *given: Any, **more: Any) -> requests.Response:
        response = super().send(*given, **more)
        stream = response.raw.stream

        def bounded(*size: Any, **how: Any) -> Iterator[bytes]:
            length = 0
            for part in stream(*size, **how):
                length += len(part)
                if length > MOST_BYTES:
                    response.close()
                    raise ChunkedEncodingError(f"the answer is longer than {MOST_BYTES} bytes")
                yield part

        response.raw.stream = bounded
        return response


def bound_answers() -> None:
    """Let every session of this process refuse long answers, with a RequestException."""
    vars(requests.sessions)["HTTPAdapter"] = _Bounded
