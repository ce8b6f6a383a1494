"""Progress: lines on stderr, and the summary at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import timedelta

from daemon.cluster.classifying import Summary

EVERY_S, EVERY_S_SHOWN = 10.0, 1.0  # between lines in a log, and on a terminal


class Progress:
    """Sums the counts of parts."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()
        self.parts, self.files, self.windows, self.audio_s = 0, 0, 0, 0.0
        self.earlier = 0  # files that an earlier call classified
        self._audio_made_s = 0.0
        # Speed counts from the first part on: before it, processes start.
        self._first: tuple[float, int, float] | None = None
        self.accepted: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._shown = sys.stderr.isatty()

    def add(self, summary: Summary) -> None:
        """Count a part."""
        self.parts += 1
        self.files += summary.files
        self.windows += summary.windows
        self.audio_s += summary.audio_s
        self.accepted.update(summary.accepted)
        self.errors.update(summary.errors)
        if summary.made:
            self._audio_made_s += summary.audio_s
        else:
            self.earlier += summary.files
        if self._first is None:
            made = self.files - self.earlier
            self._first = time.monotonic(), made, self._audio_made_s

    def say(self, listed: int, is_all: bool) -> None:
        """Print a line if it is time; `listed` files are known so far."""
        now = time.monotonic()
        if now - self._said < (EVERY_S_SHOWN if self._shown else EVERY_S):
            return
        self._said = now
        line = self.line(listed, is_all)
        if self._shown:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def line(self, listed: int, is_all: bool) -> str:
        """Files done, of those listed; speed; time left; errors."""
        began, files, audio_s = self._first or (self._began, 0, 0.0)
        elapsed_s = max(time.monotonic() - began, 1e-3)
        rate = (self.files - self.earlier - files) / elapsed_s
        hours = (self._audio_made_s - audio_s) / 3600 / elapsed_s
        words = [f"{self.files:,} of {listed:,}{'' if is_all else ' or more'} files"]
        words.append(f"{rate:,.1f} files/s, {hours:,.2f} h of audio/s")
        if is_all and rate > 0:
            left = timedelta(seconds=round(max(0, listed - self.files) / rate))
            words.append(f"{left} left")
        if self.errors:
            words.append(f"errors: {self._errors()}")
        return "; ".join(words)

    def _errors(self) -> str:
        return ", ".join(f"{code} {count:,}" for code, count in self.errors.most_common())

    def summary(self) -> str:
        """All of it, at the end."""
        elapsed = time.monotonic() - self._began
        lines = [
            f"{self.files:,} files, {self.windows:,} windows, {self.audio_s / 3600:,.2f} h of "
            f"audio, {self.accepted.total():,} accepted; {elapsed:,.0f} s"
        ]
        if self.earlier:
            lines.append(f"of them {self.earlier:,} files by an earlier call")
        if self.accepted:
            best = self.accepted.most_common(10)
            lines.append("most: " + ", ".join(f"{label} {count:,}" for label, count in best))
        if self.errors:
            total = self.errors.total()
            lines.append(f"{total:,} failed: {self._errors()} (rows whose decision is `failed`)")
        return ("\r\033[K" if self._shown else "") + "\n".join(lines)
