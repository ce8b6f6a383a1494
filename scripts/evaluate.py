"""Evaluate a model on clips that it has not seen.

One or several runs, each on the fold that it held out, pooled:

    python -m scripts.evaluate --run runs/full-1 --run runs/full-2

A checkpoint on any data:

    python -m scripts.evaluate --checkpoint FOLDER --data FOLDER --fold 5

A checkpoint on clips of other sources, beside YAMNet if its file is given:

    python -m scripts.evaluate --checkpoint FOLDER --wild FOLDER --yamnet yamnet.tflite

Runs of `--recipe unknown`, on the kinds that they did not learn:

    python -m scripts.evaluate --unknown --run runs/unknown-0 --run runs/unknown-1
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scripts.frontend import (
    ESC50,
    check_train,
    needs_train,
    plainly,
    run_script,
    say_next,
    say_next_script,
)
from tinyast.data.layout import find_csv, find_labels, find_predictions
from tinyast.errors import DataError
from tinyast.inference.engine_names import ENGINES

if TYPE_CHECKING:
    from scripts.judging import Figures


def command(
    data: Annotated[Path, typer.Option(help="Folder with the clips and their CSV.")] = ESC50,
    run: Annotated[list[Path] | None, typer.Option(help="Run folder; may be repeated.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder.")] = None,
    fold: Annotated[int | None, typer.Option(help="Fold to test a checkpoint on.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("runs/evaluation"),
    changed: Annotated[
        bool, typer.Option("--robustness", help="Also test changed sound; takes 18 times longer.")
    ] = False,
    engine: Annotated[str, typer.Option(help=f"Engine: {', '.join(ENGINES)}.")] = "onnx",
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Test how well runs reject unlearnt kinds.")
    ] = False,
    wild: Annotated[
        Path | None,
        typer.Option(help="Folder of other clips, with labels.csv (file,label; none for no kind)."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="With --wild: the least score that is accepted.")
    ] = 0.75,
    yamnet: Annotated[
        Path | None, typer.Option(help="With --wild: YAMNet's .tflite file, to judge beside it.")
    ] = None,
) -> None:
    """Test models: print the figures, and write them to --output as JSON, CSV and PNG.

    \b
    Examples:
      python -m scripts.evaluate --run runs/full-4
      python -m scripts.evaluate --run runs/full-3 --run runs/full-4 --robustness
      python -m scripts.evaluate --checkpoint checkpoints/mine --data my-sounds
      python -m scripts.evaluate --unknown --run runs/unknown-0 --run runs/unknown-1
      python -m scripts.evaluate --checkpoint checkpoints/mine --wild other-sounds
    """
    with plainly("No files were written."):
        _check(data, run or [], checkpoint, engine, wild)
        output.mkdir(parents=True, exist_ok=True)
        if wild is not None:
            _wild(wild, checkpoint, engine, threshold, yamnet, output)
            return
        with needs_train():
            from scripts.judging import judge
        figures = judge(data, run or [], checkpoint, fold, engine, changed, unknown, output)
        (output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    typer.echo(f"\nFigures: {output}")
    if run and not unknown:
        _say_export(data, run[0], figures)
    elif not unknown:
        say_next("tinyastd", "run", *(("--checkpoint", checkpoint) if checkpoint else ()))


def _check(
    data: Path, runs: list[Path], checkpoint: Path | None, engine: str, wild: Path | None
) -> None:
    """Find mistakes before torch is loaded, which takes seconds. Raises TinyASTError."""
    check_train()
    if engine not in ENGINES:
        raise DataError(f"no engine is called {engine!r}; there is {', '.join(ENGINES)}")
    if wild is not None and runs:
        raise DataError("--wild judges a --checkpoint, not a --run: export the run first")
    (find_csv if wild is None else find_labels)(data if wild is None else wild)
    for run in runs:
        find_predictions(run)
    if checkpoint is not None:
        from tinyast.inference.checkpoint import find_checkpoint

        find_checkpoint(checkpoint)


def _wild(
    folder: Path,
    checkpoint: Path | None,
    engine: str,
    threshold: float,
    yamnet: Path | None,
    output: Path,
) -> None:
    from scripts.wild import judge_wild, write_wild

    write_wild(judge_wild(folder, checkpoint, engine, threshold, yamnet), output)
    typer.echo(f"\nFigures: {output / 'wild.json'}")


def _say_export(data: Path, run: Path, figures: Figures) -> None:
    """Print the command that exports a run; it finds the figures fitted here by itself."""
    fitted: list[str] = []
    if "int8_points_lost" in figures:
        fitted += ["--int8", str(data), "--int8-loss", f"{figures['int8_points_lost']:.2f}"]
    output = Path("checkpoints") / run.name
    say_next_script("export", "--model", run / "model", "--output", output, *fitted)


def main() -> None:
    run_script(command)


if __name__ == "__main__":
    main()
