"""The result of one check of `tinyastd doctor`."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Check:
    """The result of one check. `fix` suggests what to do unless it is ok."""

    name: str
    state: str  # ok, warn or fail
    text: str
    fix: str = ""
