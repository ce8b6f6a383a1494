"""The results of a lesson in words: a page in Markdown, and a summary for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from tinyast.learning.results import Kind, Results

SHOWN = 20  # confusions and doubtful clips


def summary(results: Results) -> list[str]:
    """Lines for a terminal."""
    lines = [f"{'kind':<24} clips  right  accepted  precision  threshold"]
    for kind in results.kinds:
        lines.append(
            f"{kind.label:<24} {kind.clips:>5}  {kind.right:>5}  {kind.accepted:>8}  "
            f"{_precision(kind):>9}  {kind.threshold:>9.2f}"
        )
    lines.append(
        f"{results.right} of {results.clips} clips right, each judged without its recording"
    )
    if results.none_clips:
        lines.append(f"{results.none_accepted} of {results.none_clips} clips of no kind accepted")
    for label, given, count in results.confusions[:3]:
        lines.append(f"{label} heard as {given}: {count}")
    for doubt in results.doubts[:3]:
        lines.append(f"mislabelled? {doubt.name}: {doubt.label}, sounds like {doubt.given}")
    lines += [f"more clips of {label}: {why}" for label, why in results.need_more]
    return lines


def _precision(kind: Kind) -> str:
    return f"{kind.right / kind.called:.0%}" if kind.called else "-"


def page(
    name: str, base: str, results: Results, unread: Sequence[tuple[str, str]], kept: Sequence[str]
) -> str:
    """The page: `unread` are files with the reason, `kept` the kinds known before."""
    parts = [
        f"# {name}\n\nLearnt by `tinyastd learn` from {base}. {_counted(results)}\n",
        "## Kinds\n\n" + _kinds(results.kinds),
        "Each clip was judged by a head that had not heard its recording. *Accepted*: right clips "
        "with a score of the threshold or more. *Precision*: of all clips given this label, the "
        "share that is right. A threshold in the settings goes before the one here.\n",
    ]
    if results.confusions:
        rows = results.confusions[:SHOWN]
        parts.append(_table("Confusions", ("clip of", "heard as", "clips"), rows))
    if results.doubts:
        doubts = [(d.name, d.label, d.given, f"{d.score:.0%}") for d in results.doubts[:SHOWN]]
        parts.append(
            _table("Clips that may be mislabelled", ("clip", "label", "like", "score"), doubts)
        )
    if results.need_more:
        parts.append(_table("Kinds that need more clips", ("kind", "why"), results.need_more))
    if unread:
        parts.append(_table("Files that were left out", ("file", "why"), unread))
    if kept:
        parts.append(f"## Kinds kept from {base}\n\n{', '.join(kept)}\n")
    return "\n".join(parts)


def _counted(results: Results) -> str:
    text = f"{results.right} of {results.clips} clips are right"
    if results.none_clips:
        text += f"; of {results.none_clips} clips of no kind, {results.none_accepted} are accepted"
    return f"{text}."


def _kinds(kinds: Sequence[Kind]) -> str:
    rows = [
        (k.label, k.clips, k.right, k.accepted, _precision(k), f"{k.threshold:.2f}") for k in kinds
    ]
    return _rows(("kind", "clips", "right", "accepted", "precision", "threshold"), rows)


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return f"## {title}\n\n{_rows(names, rows)}"


def _rows(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    escaped = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)
