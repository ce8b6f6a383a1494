"""`tinyastd learn`: teach a checkpoint new kinds of sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.options import Checkpoint, Config, read_settings


def learn(
    context: typer.Context,
    clips: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="A sub-folder of clips for each kind, or a CSV."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the new checkpoint.")],
    only_mine: Annotated[
        bool, typer.Option("--only-mine", help="Drop the kinds that the checkpoint already knows.")
    ] = False,
    precision: Annotated[
        float, typer.Option(help="Share of right labels that each threshold should give.")
    ] = 0.9,
    fine_tune: Annotated[
        bool,
        typer.Option(
            "--fine-tune",
            help="Train the whole model, for minutes to hours; needs the extra `train`.",
        ),
    ] = False,
    config: Config = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Teach a checkpoint new kinds of sound, from 5 to 30 clips of each.

    A sub-folder `none` holds background and other sounds. See docs/own-sounds.md.
    """
    settings = read_settings(context)
    from daemon.commands.batch import fine_tune as tuning
    from daemon.commands.batch.learn import learn

    lines = (
        tuning.fine_tune(settings, clips, output, only_mine)
        if fine_tune
        else learn(settings, clips, output, only_mine, precision)
    )
    for line in lines:
        typer.echo(line)
    typer.echo(f"wrote {output}; its README.md has all figures")
    typer.echo(f"Next: tinyastd run --checkpoint {output}")
