"""Archives for the cluster's tests, their tables, and the table of `tinyastd classify` alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
import soundfile
from sounds import noise, wav_bytes, write_wav

from daemon.cluster.classifying import PartWorker, Summary
from daemon.cluster.command import job_of
from daemon.cluster.driver import Lister
from daemon.cluster.job import Job, claim
from daemon.cluster.splitting import Cut
from daemon.commands.batch.classify import run_batch
from daemon.commands.batch.classify_sinks import Extras
from daemon.settings.schema import Settings

SETTINGS = Settings(engine="onnx", node="here", workers=1)
Row = dict[str, object]
RATE_OF_FLAC = 44_100


def archive(folder: Path, clips: int = 20) -> Path:
    """Clips of two days in two folders, stereo FLAC, and files that cannot be read (1 in 20)."""
    for number in range(clips):
        day = folder / f"station {number % 2}"
        day.mkdir(parents=True, exist_ok=True)
        name = f"rec_2024060{1 + number % 3}_{number // 60 % 24:02}{number % 60:02}00_{number}"
        if number % 20 == 7:
            (day / f"{name}.wav").write_bytes(b"RIFF, but no more")
        elif number % 20 == 9:
            stereo = np.stack([noise(6, RATE_OF_FLAC, number), noise(6, RATE_OF_FLAC, 99)], 1)
            soundfile.write(day / f"{name}.flac", stereo, RATE_OF_FLAC)
        else:
            write_wav(day / f"{name}.wav", 0.7 + number % 5, seed=number)
    (folder / "notes.txt").write_text("no recording")
    (folder / ".hidden.wav").write_bytes(wav_bytes(noise(1)))
    return folder


def job(
    sources: Sequence[object],
    output: object,
    embeddings: bool = False,
    partition: Literal["date", "folder", "none"] = "date",
) -> Job:
    """A job with the settings of all these tests."""
    names = [str(source) for source in sources]
    return job_of(SETTINGS, names, str(output), "wav,flac", partition, embeddings)[0]


def listed(one: Job, slice_bytes: int = 64 << 20) -> Lister:
    """List the sources of a job into its plan. Raises the errors of the listing."""
    claim(one, overwrite=False)
    lister = Lister(one, Cut(5.0, 5.0, 86_400.0, slice_bytes))
    lister.run()
    if lister.error is not None:
        raise lister.error
    return lister


def made(one: Job, slice_bytes: int = 64 << 20) -> list[Summary]:
    """Make all parts of a job in this process."""
    parts = listed(one, slice_bytes).wait(0)
    worker = PartWorker(one)
    return [worker.run(number) for number in range(parts)]


def rows(output: Path | str, columns: Sequence[str] | None = None) -> list[Row]:
    """The rows of an output on this machine's file systems, sorted."""
    tables = [pyarrow.parquet.ParquetFile(each).read() for each in Path(output).rglob("part-*")]
    found: list[Row] = [] if not tables else pyarrow.concat_tables(tables).to_pylist()
    return ordered(found, columns)


def ordered(found: list[Row], columns: Sequence[str] | None = None) -> list[Row]:
    """Rows by place and time, with these columns."""
    found.sort(key=lambda row: (str(row["path"]), row["start_s"] is None, row["start_s"] or 0.0))
    return [{name: row[name] for name in columns or row} for row in found]


def alone(sources: Sequence[Path], folder: Path) -> list[Row]:
    """The rows of `tinyastd classify` for Parquet without a cluster, sorted."""
    output = folder / "alone.parquet"
    run_batch(SETTINGS, sources, "parquet", output, True, "wav,flac", Extras())
    return ordered(pyarrow.parquet.read_table(output).to_pylist())


def long_stereo(path: Path, seconds: int, after: bytes = b"") -> Path:
    """A 44.1 kHz stereo WAV; `after` follows its samples."""
    block = noise(60, RATE_OF_FLAC, 5)
    sound = np.resize(block, seconds * RATE_OF_FLAC)
    out = io.BytesIO()
    soundfile.write(out, np.stack([sound, sound[::-1]], 1), RATE_OF_FLAC, format="WAV")
    path.write_bytes(out.getvalue() + after)
    return path


def names_in(output: Path, under: str = "") -> dict[str, int]:
    """The parts of an output, with the times of their last changes."""
    found = (output / under).rglob("part-*.parquet")
    return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in found}
