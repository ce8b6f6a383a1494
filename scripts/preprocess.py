"""Clips to pictures: `python -m scripts.preprocess --data FOLDER --output data/processed/pictures`.

Writes a 64x64 log-mel `.npy` of each clip, as the model sees it, and a `metadata.csv`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tinyast.datasets import read_dataset
from tinyast.errors import TinyASTError
from tinyast.features import FeatureSettings
from tinyast.preprocessing import preprocess


def command(
    data: Annotated[Path, typer.Option(help="Folder of clips with their CSV.")] = Path(
        "data/raw/ESC-50-master"
    ),
    output: Annotated[Path, typer.Option(help="Where pictures go.")] = Path(
        "data/processed/pictures"
    ),
    limit: Annotated[int, typer.Option(help="Only so many clips, spread evenly; 0: all.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Write what the model sees of each clip. Run again, only new and changed clips are done."""
    try:
        dataset = read_dataset(data)
        if 0 < limit < len(dataset):
            spread = np.linspace(0, len(dataset), limit, endpoint=False).astype(np.int64)
            dataset = dataset.subset(spread)
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(TextColumn("pictures"), *columns) as bar:
            task = bar.add_task("", total=len(dataset))
            made = preprocess(
                dataset,
                FeatureSettings(),
                output,
                workers,
                progress=lambda done: bar.update(task, completed=done),
            )
            bar.update(task, completed=len(dataset))
    except TinyASTError as error:
        typer.secho(f"Error: {error}", err=True, fg="red")
        raise typer.Exit(2) from None
    typer.echo(f"{made} pictures written, {len(dataset) - made} were there: {output}")
    typer.echo(f"Next: python -m scripts.train --recipe quick --data {data}")


def main() -> None:
    typer.run(command)


if __name__ == "__main__":
    main()
