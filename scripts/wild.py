"""The part of `scripts.evaluate` that judges a checkpoint on sounds from elsewhere (--wild)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer
from rich.progress import track

from tinyast.classifier import Classifier
from tinyast.evaluation.wild import Hear, WildFigures, hear_with, read_wild, wild_figures
from tinyast.evaluation.yamnet import yamnet

SHOWN = 15
"""Confusions printed; all are written."""


def judge_wild(
    folder: Path, checkpoint: Path | None, engine: str, threshold: float, peer: Path | None
) -> dict[str, WildFigures]:
    """Print figures of a checkpoint, and of YAMNet if its file `peer` is given; by name.

    Raises DataError, CheckpointError.
    """
    classifier = Classifier.load(checkpoint, engine)
    clips = read_wild(folder, classifier.labels)
    ears: dict[str, Hear] = {classifier.checkpoint.name: hear_with(classifier)}
    if peer is not None:
        ears["yamnet"] = yamnet(peer, classifier.labels)
    found = {}
    for name, hear in ears.items():
        answers = [hear(clip.path) for clip in track(clips, name)]
        found[name] = wild_figures(clips, answers, classifier.labels, threshold)
        _print(name, found[name], threshold)
    return found


def write_wild(found: dict[str, WildFigures], output: Path) -> None:
    """Write all figures as `output`/wild.json."""
    figures = {name: asdict(each) for name, each in found.items()}
    (output / "wild.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _print(name: str, figures: WildFigures, threshold: float) -> None:
    typer.echo(f"\n{name}:")
    if figures.right is not None and figures.top3 is not None:
        typer.echo(
            f"{figures.right:.1%} of {figures.clips} clips right, {figures.top3:.1%} among the best"
            f" three; mean score {figures.mean_score:.2f}, calibration error"
            f" {figures.calibration_error:.3f}"
        )
        accepted = round((figures.accepted or 0.0) * figures.clips)
        words = f"{figures.accepted:.1%} of them ({accepted}) accepted"
        if figures.accepted_right is not None:
            words += f", {figures.accepted_right:.1%} of those right"
        typer.echo(f"at threshold {threshold:.2f}: {words}")
    if figures.none_accepted is not None:
        typer.echo(
            f"at threshold {threshold:.2f}: {figures.none_accepted:.1%} of {figures.none_clips}"
            " clips of no kind accepted"
        )
    typer.echo(f"\n{'length':<14} {'clips':>5} {'right':>7}")
    for row in figures.lengths:
        below = "and more" if row.below_s == float("inf") else f"to {row.below_s:g}"
        share = "-" if row.right is None else f"{row.right:.1%}"
        typer.echo(f"{f'{row.least_s:g} {below} s':<14} {row.clips:>5} {share:>7}")
    typer.echo(f"\n{'actual':<18} {'predicted':<18} clips")
    for actual, given, count in figures.confusions[:SHOWN]:
        typer.echo(f"{actual:<18} {given:<18} {count:>5}")
    for clip, given, score in figures.mistaken:
        typer.echo(f"{'none':<18} {given:<18} {score:>5.2f}  {clip}")
