"""`python -m scripts.benchmark`: choose the parts to measure and where to write the figures."""

from __future__ import annotations

import os

if __name__ == "__main__":  # before numpy is loaded
    # Use all instructions of this processor: an older processor's kernel would lower the peak.
    os.environ.pop("OPENBLAS_CORETYPE", None)

import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scripts.benchmark import machine
from scripts.benchmark.figures import FULL, QUICK, Counts, Figure
from scripts.benchmark.parts import (
    floor,
    growth,
    idle,
    load,
    page,
    shown,
    stages,
    starting,
    workers,
)
from scripts.benchmark.peers import comparison
from scripts.benchmark.report import Parts, check_place, table, write_into, write_json
from scripts.benchmark.served import Bed
from scripts.frontend import needs_train, plainly, run_script
from tinyast.inference.engine_names import EngineName

ROOT = Path(__file__).resolve().parent.parent.parent
YAMNET = Path(os.environ.get("TINYAST_SHARED", ROOT.parent / "shared")) / "peers" / "yamnet.tflite"


class Part(StrEnum):
    """Parts that can be measured separately."""

    peers = "peers"
    stages = "stages"
    floor = "floor"
    start = "start"
    idle = "idle"
    latency = "latency"
    workers = "workers"
    growth = "growth"
    page = "page"


def _measures(
    bed: Bed, counts: Counts, parts: Parts, yamnet: Path
) -> dict[Part, Callable[[], list[Figure]]]:
    """What measures each part; `parts` are the figures of those already measured."""
    return {
        Part.peers: lambda: comparison.measure(bed, counts, yamnet),
        Part.stages: lambda: stages.measure(bed, counts),
        Part.floor: lambda: floor.measure(bed, parts.get("stages") or stages.measure(bed, counts)),
        Part.start: lambda: starting.measure(bed, counts),
        Part.idle: lambda: idle.measure(bed, counts),
        Part.latency: lambda: load.measure(bed, counts),
        Part.workers: lambda: workers.measure(bed, counts),
        Part.growth: lambda: growth.measure(bed, counts),
        Part.page: lambda: [*page.measure(bed, counts), *shown.measure(bed, counts.floods)],
    }


def main(
    part: Annotated[
        list[Part] | None, typer.Option(help="Measure only this part; may be repeated.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A quick look, not a measurement.")
    ] = False,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder.")] = None,
    engine: Annotated[EngineName, typer.Option(help="Engine that runs the model.")] = "onnx",
    yamnet: Annotated[Path, typer.Option(help="YAMNet for LiteRT: yamnet.tflite.")] = YAMNET,
    dir: Annotated[Path | None, typer.Option(help="Folder on the disk to measure.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Draw the figures into this PNG.")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Put the tables into this document, between its markers.")
    ] = None,
) -> None:
    """Measure tinyast on this machine, beside other classifiers, and print one table."""
    counts = QUICK if quick else FULL
    bed = Bed(Path(tempfile.gettempdir()) if dir is None else dir, checkpoint, engine)
    parts: Parts = {}
    measures = _measures(bed, counts, parts, yamnet)
    if png is not None:
        with needs_train():
            import matplotlib  # noqa: F401 - fail now, not after half an hour
    with plainly("The measurements are lost."):
        if into is not None:
            check_place(into)
        where = machine.describe()
        for name, measure in measures.items():
            if not part or name in part:
                typer.echo(f"measuring: {name}", err=True)
                parts[str(name)] = measure()
        typer.echo(table(where, parts))
        if json_file is not None:
            write_json(json_file, where, parts)
        if into is not None:
            write_into(into, where, parts)
        if png is not None:
            from scripts.benchmark.plot import draw

            draw(png, where, parts)


if __name__ == "__main__":
    run_script(main)
