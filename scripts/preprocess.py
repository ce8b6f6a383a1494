"""Turn clips into pictures: `python -m scripts.preprocess --data FOLDER --output FOLDER`.

Writes each clip's 64x64 log-mel picture, the model's input, as `.npy`, and a `metadata.csv`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import MofNCompleteColumn

from scripts.frontend import ESC50, bar, needs_train, plainly, run_script, say_next_script

with needs_train():
    from tinyast.data.datasets import read_dataset
    from tinyast.data.preprocessing import preprocess
from tinyast.features.log_mel import FeatureSettings


def command(
    data: Annotated[Path, typer.Option(help="Folder with the clips and their CSV.")] = ESC50,
    output: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path(
        "data/processed/pictures"
    ),
    limit: Annotated[
        int, typer.Option(help="Use only this many clips, evenly spread; 0: all.", min=0)
    ] = 0,
    workers: Annotated[int, typer.Option(help="Number of processes.", min=1)] = os.cpu_count() or 1,
) -> None:
    """Write the model's picture of each clip. A second run processes only new and changed clips.

    \b
    Examples:
      python -m scripts.preprocess
      python -m scripts.preprocess --limit 400
      python -m scripts.preprocess --data my-sounds --output my-pictures
    """
    with plainly("Finished pictures are kept; run the same command to resume."):
        dataset = read_dataset(data)
        if 0 < limit < len(dataset):
            spread = np.linspace(0, len(dataset), limit, endpoint=False).astype(np.int64)
            dataset = dataset.subset(spread)
        with bar("pictures", MofNCompleteColumn()) as shown:
            task = shown.add_task("", total=len(dataset))
            made = preprocess(
                dataset,
                FeatureSettings(),
                output,
                workers,
                progress=lambda done: shown.update(task, completed=done),
            )
            shown.update(task, completed=len(dataset))
    gone = f", {made.removed} removed with their clips" if made.removed else ""
    typer.echo(f"{made.written} pictures written, {made.kept} were there{gone}: {output}")
    say_next_script("train", "--recipe", "quick", "--data", data)


def main() -> None:
    run_script(command)


if __name__ == "__main__":
    main()
