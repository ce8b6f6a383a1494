"""Write the figures as one table for people, and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from scripts.benchmark.figures import Figure
from scripts.benchmark.machine import BUSY
from tinyast.errors import TinyASTError

COLUMNS = ("median", "p5", "p95", "p99", "max")
Parts = dict[str, list[Figure]]


def table(where: dict[str, Any], parts: Parts) -> str:
    """One line per figure, part by part."""
    others = where["busy_before"]
    lines = [
        f"{where['cpu']}, {where['cores']} cores, Python {where['python']}, {where['system']}",
        f"processors busy before: {others:.0f} %"
        + (" (other programs were running: compare with care)" if others > BUSY else ""),
    ]
    width = max((len(f.name) for figures in parts.values() for f in figures), default=0)
    head = " ".join(f"{name:>9}" for name in COLUMNS)
    for part, figures in parts.items():
        lines += ["", f"{part:<{width}} {'':>5} {'n':>5} {head}"]
        lines += [_line(figure, width) for figure in figures]
    return "\n".join(lines)


def _line(figure: Figure, width: int) -> str:
    about = figure.summary()
    start = f"{figure.name:<{width}} {figure.unit:>5}"
    if not figure.values:
        return f"{start}     - {figure.note}"
    shown = COLUMNS if len(figure.values) > 1 else COLUMNS[:1]
    numbers = " ".join(f"{_number(about[key]):>9}" for key in shown)
    note = f"  {figure.note}" if figure.note else ""
    return f"{start} {about['n']:>5} {numbers:<{10 * len(COLUMNS) - 1}}{note}".rstrip()


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10_000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def write_json(path: Path, where: dict[str, Any], parts: Parts) -> None:
    figures = [
        {"part": part, **figure.summary()} for part, found in parts.items() for figure in found
    ]
    report = msgspec.json.encode({"machine": where, "figures": figures})
    path.write_bytes(msgspec.json.format(report) + b"\n")


# -- Markdown ------------------------------------------------------------------------------------

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


class NoPlace(TinyASTError):
    """A document has no markers for the figures."""


def check_place(path: Path) -> None:
    """Raise NoPlace if the document has no markers."""
    text = path.read_text(encoding="utf-8")
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise NoPlace(f"{path} has no lines `{BEGIN}` and `{END}` to put the figures between")


def write_into(path: Path, where: dict[str, Any], parts: Parts) -> None:
    """Put the tables of the measured parts between the markers in a document."""
    check_place(path)
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{_markdown(where, parts)}\n{END}{after}", encoding="utf-8")


def _markdown(where: dict[str, Any], parts: Parts) -> str:
    lines = [
        f"{where['cpu']}, {where['cores']} cores, Python {where['python']}, {where['system']}; "
        f"processors busy before: {where['busy_before']:.0f} %.",
        "",
    ]
    for part, figures in parts.items():
        lines += [f"| {part} | | n | {' | '.join(COLUMNS)} | |", f"| {'--- | ' * 9}".rstrip()]
        for figure in figures:
            about = figure.summary()
            shown = [_number(about[key]) for key in COLUMNS] if figure.values else [""] * 5
            if len(figure.values) == 1:
                shown[1:] = [""] * 4
            cells = (figure.name, figure.unit, str(about["n"]), *shown, figure.note)
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)
