"""The options of `tinyastd classify`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.errors import SettingsError

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...",
        help="Files and folders; with --on also globs, @LIST of paths, s3:// and gs://.",
    ),
]
Format = Annotated[
    Literal["table", "csv", "jsonl", "parquet", "raven", "audacity", "kaleidoscope"] | None,
    typer.Option(help="Output format; by default from the suffix of --output, or else a table."),
]
Output = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Write to this file; resumes a csv or jsonl file. An existing folder gets one "
        "table per recording (raven, audacity, kaleidoscope). With --on, a folder or an address.",
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        metavar="ray[://HOST:PORT]",
        help="Classify on a Ray cluster, or on one started here. See docs/scale.md.",
    ),
]
PartitionBy = Annotated[
    Literal["date", "folder", "none"] | None,
    typer.Option(
        help="With --on: sub-folders of the output, by recording date (the default) or by folder."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output.")]
Formats = Annotated[
    str | None,
    typer.Option(help="Audio formats to read, such as wav,flac; or all."),
]
Join = Annotated[
    bool, typer.Option("--join", help="Make one row of neighbouring windows of a label.")
]
Embeddings = Annotated[
    Path | None,
    typer.Option(help="Also write embeddings to this Parquet file; with --on, -: to a column."),
]
Segments = Annotated[
    Path | None, typer.Option(help="Cut accepted windows out, to sub-folders by label.")
]
Least = Annotated[float, typer.Option("--min", help="Least score of a segment.")]
Most = Annotated[float, typer.Option("--max", help="Greatest score of a segment.")]
PerLabel = Annotated[int | None, typer.Option(help="Cut out only the best N of each label.", min=1)]


def check_cluster_options(
    kind: str | None, embeddings: Path | None, others: Mapping[str, object]
) -> None:
    """Raise SettingsError for options of `classify` that do not go with --on."""
    if kind not in (None, "parquet"):
        raise SettingsError(f"--on writes parquet, not {kind}")
    if embeddings not in (None, Path("-")):
        raise SettingsError("with --on, embeddings are a column of the table: --embeddings -")
    if given := [name for name, value in others.items() if value]:
        raise SettingsError(f"{given[0]} does not go with --on")


def check_local_options(sources: Sequence[str], partition: str | None) -> None:
    """Raise SettingsError for what `classify` takes only with --on."""
    if partition is not None:
        raise SettingsError("--partition needs --on ray")
    for source in sources:
        if not os.path.exists(source) and (source.startswith("@") or "://" in source):
            raise SettingsError(f"{source} needs --on ray; without it, name files and folders")
