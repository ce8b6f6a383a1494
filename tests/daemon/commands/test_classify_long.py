"""Tables of long recordings of real sounds: other programs read every row of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from conftest import SHARED
from crowsetta.formats.bbox.raven import Raven
from crowsetta.formats.seq.audseq import AudSeq
from running import stress, tinyastd

from daemon.tables.annotations import KALEIDOSCOPE

# crowsetta uses a keyword that the newest pandas warns about.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")
SECONDS = stress(1_800, 180)  # of each recording
Row = tuple[str, float, float, str]  # path, start, end, label


def fill(path: Path, clips: Iterator[Path], rate: int) -> None:
    """Join clips, mono at `rate` Hz, until the recording is long enough."""
    with soundfile.SoundFile(path, "w", rate, 1) as recording:
        while recording.frames < SECONDS * rate:
            samples, own = soundfile.read(next(clips), dtype="float32", always_2d=True)
            mono = samples.mean(axis=1)
            recording.write(mono if own == rate else soxr.resample(mono, own, rate))


@pytest.fixture(scope="module")
def night(esc50: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    wild = SHARED / "wild" / "clips"
    if not wild.is_dir():
        pytest.skip(f"no recordings at {wild}")
    folder = tmp_path_factory.mktemp("night")
    mixed = np.random.default_rng(0).permutation(
        [str(each) for each in [*wild.iterdir(), *(esc50 / "original").iterdir()]]
    )
    for name, clips, rate in (
        ("field.wav", sorted((esc50 / "audio").glob("*.flac"))[::3], 44_100),
        ("wild.flac", sorted(wild.iterdir()), 32_000),
        ("mixed_20240601_213000.wav", [Path(each) for each in mixed], 48_000),
    ):
        fill(folder / name, cycle(clips), rate)
    return folder


def classified(night: Path, *options: object) -> str:
    """What `classify` prints."""
    formats = ("--formats", "wav,flac")
    done = tinyastd("classify", night, *formats, *options, timeout=20 + SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def accepted(night: Path) -> list[Row]:
    """The accepted windows, as CSV has them."""
    rows = list(csv.DictReader(io.StringIO(classified(night, "--format", "csv"))))
    assert len(rows) >= 3 * (SECONDS // 5)
    found = [
        (row["path"], float(row["start_s"]), float(row["end_s"]), row["label"])
        for row in rows
        if row["decision"] == "accepted"
    ]
    print(f"{len(rows)} windows of {3 * SECONDS} s, {len(found)} accepted")
    assert len(found) > len(rows) / 10
    assert len({path for path, *_ in found}) == 3
    return found


def test_raven(night: Path, accepted: list[Row], tmp_path: Path) -> None:
    table = tmp_path / "all.selections.txt"
    classified(night, "--output", table)
    boxes = Raven.from_file(table, annot_col="Label").to_bbox()
    rows = pd.read_csv(table, sep="\t")
    assert [box.label for box in boxes] == [label for *_, label in accepted]
    assert list(rows["Begin Path"]) == [path for path, *_ in accepted]
    np.testing.assert_allclose(rows["File Offset (s)"], [start for _, start, *_ in accepted])
    lengths = [box.offset - box.onset for box in boxes]
    np.testing.assert_allclose(lengths, [end - start for _, start, end, _ in accepted], atol=1e-5)
    before, expected = {}, 0.0
    for path in sorted(night.iterdir()):
        before[str(path)] = expected
        expected += soundfile.info(path).frames / soundfile.info(path).samplerate
    onsets = [before[path] + start for path, start, *_ in accepted]
    np.testing.assert_allclose([box.onset for box in boxes], onsets, atol=1e-3)


def test_audacity(night: Path, accepted: list[Row], tmp_path: Path) -> None:
    classified(night, "--format", "audacity", "--output", tmp_path)
    found: list[Row] = []
    for path in sorted(night.iterdir()):
        track = AudSeq.from_file(tmp_path / f"{path.stem}.txt").to_seq()
        labels = [label.rsplit(" ", 1)[0] for label in track.labels]  # without the score
        found += [
            (str(path), float(start), float(end), label)
            for start, end, label in zip(track.onsets_s, track.offsets_s, labels, strict=True)
        ]
    assert [(path, label) for path, *_, label in found] == [(p, la) for p, *_, la in accepted]
    spans = [(start, end) for _, start, end, _ in found]
    expected = [(start, end) for _, start, end, _ in accepted]
    np.testing.assert_allclose(spans, expected, atol=1e-3)  # crowsetta rounds them


def test_kaleidoscope(night: Path, accepted: list[Row]) -> None:
    rows = pd.read_csv(io.StringIO(classified(night, "--format", "kaleidoscope")))
    assert tuple(rows.columns) == KALEIDOSCOPE
    paths = [
        f"{folder}/{name}" for folder, name in zip(rows["INDIR"], rows["IN FILE"], strict=True)
    ]
    assert paths == [path for path, *_ in accepted]
    assert list(rows["AUTO ID"]) == [label for *_, label in accepted]
    np.testing.assert_allclose(rows["OFFSET"], [start for _, start, *_ in accepted], atol=1e-5)
    ends = rows["OFFSET"] + rows["DURATION"]
    np.testing.assert_allclose(ends, [end for _, _, end, _ in accepted], atol=1e-5)
    named = rows[rows["IN FILE"] == "mixed_20240601_213000.wav"]
    begins = pd.Timestamp("2024-06-01 21:30:00")
    times = pd.to_datetime(named["DATE"] + " " + named["TIME"])
    late = (times - begins).dt.total_seconds() - named["OFFSET"]
    assert late.abs().max() < 1
