"""The commands that classify recordings without a daemon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.batch import classify_options as options
from daemon.commands.options import Checkpoint, Config, Engine, Workers, read_settings


def classify(
    context: typer.Context,
    paths: options.Sources,
    format: options.Format = None,
    output: options.Output = None,
    on: options.On = None,
    partition: options.PartitionBy = None,
    overwrite: options.Overwrite = False,
    formats: options.Formats = None,
    join: options.Join = False,
    embeddings: options.Embeddings = None,
    segments: options.Segments = None,
    least: options.Least = 0.0,
    most: options.Most = 1.0,
    per_label: options.PerLabel = None,
    config: Config = None,
    engine: Engine = None,
    checkpoint: Checkpoint = None,
    workers: Workers = None,
) -> None:
    """Classify files and folders once, without a daemon. Exit code 1 if any file failed."""
    settings = read_settings(context)
    if on is not None:
        only = {"--join": join, "--segments": segments, "--per-label": per_label}
        only |= {"--min": least != 0.0, "--max": most != 1.0}
        options.check_cluster_options(format, embeddings, only)
        from daemon.cluster.command import run_on_cluster

        embeds = embeddings is not None
        by = partition or "date"
        failed = run_on_cluster(settings, on, paths, output, formats, by, embeds, overwrite)
        raise typer.Exit(1 if failed else 0)
    options.check_local_options(paths, partition)
    from daemon.commands.batch.classify import run_batch
    from daemon.commands.batch.classify_sinks import Extras

    summary = output is not None or sys.stderr.isatty()
    extras = Extras(join, embeddings, segments, least, most, per_label, summary)
    target = None if output is None else Path(output)
    failed = run_batch(settings, [*map(Path, paths)], format, target, overwrite, formats, extras)
    raise typer.Exit(1 if failed else 0)


def similar(
    context: typer.Context,
    clip: Annotated[
        Path, typer.Argument(metavar="CLIP", help="A clip, or a folder of clips of one kind.")
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Recordings, folders, and tables from `classify --embeddings`."
        ),
    ],
    count: Annotated[int, typer.Option(help="Windows to list.", min=1)] = 20,
    hop: Annotated[float, typer.Option(help="Seconds from one window to the next.", min=0.1)] = 2.5,
    config: Config = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Find the windows that sound most like a clip, as CSV, the best first."""
    settings = read_settings(context)
    from daemon.commands.batch.similar import similar, table

    typer.echo(table(similar(settings, clip, paths, count, hop)), nl=False)


def labels(context: typer.Context, config: Config = None, checkpoint: Checkpoint = None) -> None:
    """List the kinds of sound that the checkpoint knows."""
    settings = read_settings(context)
    from tinyast.inference.checkpoint import read_checkpoint

    for label in read_checkpoint(settings.checkpoint_path).labels:
        typer.echo(label)
