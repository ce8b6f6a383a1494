"""Let a checkpoint remember its own kinds: `python -m scripts.reference --checkpoint FOLDER`.

`tinyastd learn` then teaches it further kinds without mistaking the ones that it knows for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from scripts.frontend import ESC50, EXTRA, bar, needs_train, plainly, run_script, say_next

with needs_train():
    from tinyast.data.datasets import read_dataset
    from tinyast.data.none import none_clips
    from tinyast.export.reference import write_reference


def command(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder.")],
    data: Annotated[Path, typer.Option(help="Data set of its kinds.")] = ESC50,
    none: Annotated[
        Path, typer.Option(help="Sounds of no kind: `scripts.download --extra`.")
    ] = EXTRA,
) -> None:
    """Write reference.npz into a checkpoint, from clips that it was trained on.

    \b
    Example:
      python -m scripts.reference --checkpoint checkpoints/mine --data my-sounds
    """
    with plainly("The checkpoint is unchanged."):
        count = write_reference(checkpoint, read_dataset(data), none_clips(none), _follow)
    typer.echo(f"{checkpoint}: reference.npz written, of {count} clips")
    say_next("tinyastd", "learn", "FOLDER", "--checkpoint", checkpoint, "--output", "FOLDER")


def _follow(paths: Iterable[Path], title: str) -> Iterable[Path]:
    with bar(title) as progress:
        yield from progress.track(list(paths))


def main() -> None:
    run_script(command)


if __name__ == "__main__":
    main()
