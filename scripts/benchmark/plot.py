"""Draw the figures as one picture: speed of each peer, time of each stage, latency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from scripts.benchmark.figures import Figure
from scripts.benchmark.report import Parts

mpl.use("Agg")  # works without a display
# For each part: its title, and the unit and words that select the figures to draw.
PANELS = {
    "peers": ("5 s of sound to scores, one core", "ms", ""),
    "stages": ("stages of one window", "ms", ""),
    "start": ("start", "ms", "step"),
    "latency": ("closed to heard: median, and 5 to 99 %", "ms", "heard"),
    "workers": ("files a second", "/s", ""),
    "growth": ("latency as the journal grows", "ms", "written"),
}


def draw(path: Path, where: dict[str, Any], parts: Parts) -> None:
    """Write a PNG with a panel for each measured part that has figures to draw."""
    panels = {
        part: [f for f in parts[part] if f.values and f.unit == unit and words in f.name]
        for part, (_, unit, words) in PANELS.items()
        if part in parts
    }
    panels = {part: figures for part, figures in panels.items() if figures}
    rows = max(1, -(-len(panels) // 2))
    canvas = Canvas(figsize=(14, 3.6 * rows), layout="constrained")
    for index, (part, figures) in enumerate(panels.items(), 1):
        axes = canvas.add_subplot(rows, min(2, len(panels)), index)
        _bars(axes, figures)
        axes.set_title(PANELS[part][0], fontsize=10)
        axes.set_xlabel(PANELS[part][1])
        if part == "peers":
            axes.set_xscale("log")
    canvas.suptitle(f"{where['cpu']}, {where['cores']} cores", fontsize=9)
    canvas.savefig(path, dpi=110)


def _bars(axes: Axes, figures: list[Figure]) -> None:
    abouts = [figure.summary() for figure in figures]
    medians = [about["median"] for about in abouts]
    spread = [
        [about["median"] - about["p5"] for about in abouts],
        [about["p99"] - about["median"] for about in abouts],
    ]
    places = range(len(figures))
    axes.barh(places, medians, xerr=spread, color="0.75", ecolor="0.35", capsize=2)
    axes.set_yticks(places, [about["name"] for about in abouts], fontsize=8)
    axes.invert_yaxis()
    for place, median in zip(places, medians, strict=True):
        axes.text(median, place, f" {median:.3g}", va="center", fontsize=8)
