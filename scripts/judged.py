"""The tables that `scripts.evaluate` prints, and the clips that it writes."""

from __future__ import annotations

import csv
from pathlib import Path

import typer

from scripts.frontend import needs_train

with needs_train():
    from tinyast.data.datasets import Dataset
    from tinyast.evaluation.calibration import Accepted, Scores
    from tinyast.evaluation.fitted import LEAST_CLIPS, Fitted
    from tinyast.evaluation.metrics import Evaluation


def print_kinds(result: Evaluation) -> None:
    """Figures of each kind that has clips, or that a clip was taken for; and the confusions."""
    typer.echo(f"\n{'kind':<18} {'clips':>5} {'precision':>9} {'recall':>7}")
    shown = [row for row in result.classes if row.clips or row.precision is not None]
    # Those without a clip last, the worst of the others first.
    for row in sorted(shown, key=lambda row: 2.0 if row.recall is None else row.recall):
        precision = "" if row.precision is None else f"{row.precision:.0%}"
        recall = "" if row.recall is None else f"{row.recall:.0%}"
        typer.echo(f"{row.label:<18} {row.clips:>5} {precision:>9} {recall:>7}")
    if left := len(result.classes) - len(shown):
        typer.echo(f"{left} more kinds have no clips here, and no clip was taken for one of them")
    if wrong := result.most_confused():
        typer.echo(f"\n{'actual':<18} {'predicted':<18} clips")
        for actual, predicted, count in wrong:
            typer.echo(f"{actual:<18} {predicted:<18} {count:>5}")


def print_some(clips: Dataset, scores: Scores) -> None:
    """About ten clips, with the label that each was given; x marks a wrong one."""
    typer.echo(f"\n{'actual':<18} {'predicted':<18} {'score':>6}  clip")
    for number in range(0, len(clips), max(1, len(clips) // 10))[:10]:
        actual = clips.labels[clips.targets[number]]
        predicted = clips.labels[scores[number].argmax()]
        mark = "" if actual == predicted else "  x"
        best = scores[number].max()
        typer.echo(f"{actual:<18} {predicted:<18} {best:>6.2f}  {clips.paths[number].name}{mark}")


def print_accuracy(result: Evaluation, shares: dict[str, float]) -> None:
    """The share of clips that is right; `shares` is that of each judge, by name."""
    low, high = result.interval
    typer.echo(
        f"\n{result.accuracy:.1%} of {result.clips} clips right "
        f"(95 % interval {low:.1%} to {high:.1%}), {result.top3:.1%} among the best three"
    )
    if len(shares) > 1:
        listed = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        typer.echo(f"mean of {len(shares)} runs {sum(shares.values()) / len(shares):.1%}: {listed}")


def print_calibration(
    result: Evaluation, honest: float, fitted: Fitted, passed: list[Accepted]
) -> None:
    """Calibration, and what each threshold accepts, as far as there are clips enough to say so."""
    if result.clips < LEAST_CLIPS:
        typer.echo(
            f"{result.clips} clips are too few to calibrate scores or to choose a threshold: hold "
            f"out at least {LEAST_CLIPS}, or pool several runs with --run"
        )
        return
    typer.echo(
        f"calibration error {result.calibration_error:.3f} as the scores are, {honest:.3f} with "
        f"temperatures from other runs; likeliest temperature over all {fitted.temperature:.3f}"
    )
    typer.echo("threshold  accepted  of those right")
    for row in passed:
        few = row.right is None or row.clips < LEAST_CLIPS
        right = "-" if few else f"{row.right:.1%}"
        typer.echo(f"{row.threshold:>9.2f} {row.share:>9.1%} {right:>15}")
    if any(row.clips < LEAST_CLIPS for row in passed):
        typer.echo(f"(- where fewer than {LEAST_CLIPS} clips are accepted: too few for a share)")


def write_predictions(path: Path, clips: Dataset, scores: Scores) -> None:
    """Each clip with its fold, label, best label and score, as CSV."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(("filename", "fold", "actual", "predicted", "score"))
        for clip, fold, target, row in zip(
            clips.paths, clips.folds, clips.targets, scores, strict=True
        ):
            best = int(row.argmax())
            writer.writerow(
                (clip.name, fold, clips.labels[target], clips.labels[best], f"{row[best]:.4f}")
            )
