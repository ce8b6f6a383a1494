"""`tinyastd classify` for spreadsheets, data frames and programs that annotate sound."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from crowsetta.formats.bbox.raven import Raven
from crowsetta.formats.seq.audseq import AudSeq
from running import tinyastd
from sounds import noise, wav_bytes, write_wav

import tinyast
from daemon.tables.annotations import (
    KALEIDOSCOPE,
    Detection,
    Recording,
    audacity,
    joined,
    kaleidoscope,
    raven,
)
from tinyast.arrays import Float

# crowsetta uses a keyword that the newest pandas warns about.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")
ACCEPT_ALL = {
    "TINYAST_DECISION__THRESHOLD": "0",
    "TINYAST_DECISION__UNKNOWN": "false",
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of 12, 6 and 1 s, one file without sound."""
    folder = tmp_path_factory.mktemp("night")
    for name, seconds, seed in (("a.wav", 12, 1), ("b_20240601_043000.wav", 6, 2), ("c.wav", 1, 3)):
        write_wav(folder / name, seconds, seed=seed)
    (folder / "notes.wav").write_text("no sound")
    return folder


def classified(folder: Path, *options: object) -> str:
    done = tinyastd("classify", folder, *options, env=ACCEPT_ALL)
    assert done.returncode == 1, done.stderr  # for notes.wav
    return done.stdout


def windows() -> list[tuple[str, float, float]]:
    return [
        ("a.wav", 0, 5), ("a.wav", 5, 10), ("a.wav", 7, 12),
        ("b_20240601_043000.wav", 0, 5), ("b_20240601_043000.wav", 1, 6), ("c.wav", 0, 1),
    ]  # fmt: skip


def test_csv_has_time_level_top_three_and_failures(recordings: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"  # its suffix is the format
    done = tinyastd("classify", recordings, tmp_path / "gone.wav", "--output", output)
    assert done.returncode == 1
    assert "2 of 5 files failed" in done.stderr
    assert "5 files, 6 windows" in done.stderr
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    good = [row for row in rows if row["decision"] != "failed"]
    assert [
        (Path(r["path"]).name, float(r["start_s"]), float(r["end_s"])) for r in good
    ] == windows()
    assert good[4]["started_at"] == "2024-06-01T04:30:01.000Z"
    assert good[4]["clock"] == "name"
    for row in good:
        scores = [float(row[name]) for name in ("score", "score_2", "score_3")]
        assert scores == sorted(scores, reverse=True)
        assert float(row["rms_dbfs"]) == pytest.approx(-20, abs=0.5)
    failed = {Path(r["path"]).name: r["reason"] for r in rows if r["decision"] == "failed"}
    assert failed == {"gone.wav": "vanished", "notes.wav": "not_audio"}
    again = tinyastd("classify", recordings, "--output", output)
    assert again.returncode == 0
    assert "resuming: 5 files" in again.stderr
    more = tinyastd("classify", recordings, "--output", output, "--segments", tmp_path / "cut")
    assert more.returncode == 2
    assert "--segments would lack them" in more.stderr


def test_jsonl_says_which_files_failed(recordings: Path) -> None:
    lines = [json.loads(line) for line in classified(recordings, "--format", "jsonl").splitlines()]
    assert [line["type"] for line in lines] == ["prediction"] * 6 + ["file"]
    assert (lines[-1]["state"], lines[-1]["error"]["code"]) == ("failed", "not_audio")
    assert lines[-1]["source"]["path"] == str(recordings / "notes.wav")


def test_raven_reads_every_row(recordings: Path, tmp_path: Path) -> None:
    table = tmp_path / "all.selections.txt"
    classified(recordings, "--output", table)
    boxes = Raven.from_file(table, annot_col="Label").to_bbox()
    assert [(box.onset, box.offset) for box in boxes] == [
        (0, 5), (5, 10), (7, 12), (12, 17), (13, 18), (18, 19)
    ]  # fmt: skip
    rows = pd.read_csv(table, sep="\t")
    assert [
        (Path(p).name, s) for p, s in zip(rows["Begin Path"], rows["File Offset (s)"], strict=False)
    ] == [(name, start) for name, start, _ in windows()]


def test_a_table_for_each_recording(recordings: Path, tmp_path: Path) -> None:
    classified(recordings, "--format", "audacity", "--output", tmp_path)
    tracks = {path.name: AudSeq.from_file(path).to_seq() for path in tmp_path.iterdir()}
    assert sorted(tracks) == ["a.txt", "b_20240601_043000.txt", "c.txt"]
    assert list(tracks["a.txt"].onsets_s) == [0, 5, 7]
    assert list(tracks["a.txt"].offsets_s) == [5, 10, 12]
    done = tinyastd("classify", recordings, "--format", "audacity", env=ACCEPT_ALL)
    assert "name a folder with --output" in done.stderr


def test_kaleidoscope_has_the_columns_of_its_manual(recordings: Path) -> None:
    rows = pd.read_csv(io.StringIO(classified(recordings, "--format", "kaleidoscope")))
    assert tuple(rows.columns) == KALEIDOSCOPE
    assert list(rows["IN FILE"]) == [name for name, _, _ in windows()]
    assert list(rows["OFFSET"]) == [start for _, start, _ in windows()]
    assert list(rows["OFFSET"] + rows["DURATION"]) == [end for _, _, end in windows()]
    assert rows["DATE"][4] == "2024-06-01"
    assert rows["TIME"][4] == "04:30:01"
    assert set(rows["INDIR"]) == {str(recordings)}


def test_parquet_and_embeddings(recordings: Path, tmp_path: Path) -> None:
    table, embeddings = tmp_path / "out.parquet", tmp_path / "e.parquet"
    classified(recordings, "--output", table, "--embeddings", embeddings)
    rows = pd.read_parquet(table)
    assert list(rows["decision"]) == ["accepted"] * 6 + ["failed"]
    assert list(rows["start_s"][:6]) == [start for _, start, _ in windows()]
    made = pd.read_parquet(embeddings)
    samples, rate = soundfile.read(recordings / "a.wav", dtype="float32")
    expected = tinyast.Classifier.load().embed(samples, rate)
    for row, vector in zip(made["embedding"][:3], expected.tolist(), strict=True):
        assert row.tolist() == pytest.approx(vector, abs=1e-4)
    done = tinyastd("similar", recordings / "c.wav", embeddings, "--count", 3)
    found = list(csv.DictReader(io.StringIO(done.stdout)))
    assert Path(found[0]["path"]).name == "c.wav"
    assert float(found[0]["similarity"]) == pytest.approx(1, abs=1e-3)
    bad = tinyastd("similar", recordings / "c.wav", table)
    assert "has no column embedding" in bad.stderr


def test_segments_are_cut_out(recordings: Path, tmp_path: Path) -> None:
    classified(recordings, "--segments", tmp_path, "--per-label", 1)
    cut = sorted(tmp_path.rglob("*.wav"))
    labels = [path.parent.name for path in cut]
    assert cut
    assert len(labels) == len(set(labels))
    for path in cut:
        name, start = path.stem.split("_", 1)[1].rsplit("_", 1)
        whole, rate = soundfile.read(recordings / f"{name}.wav")
        samples, _ = soundfile.read(path)
        begin = round(float(start) * rate)
        np.testing.assert_allclose(samples, whole[begin : begin + len(samples)], atol=1e-4)
    none = tmp_path / "none"
    classified(recordings, "--segments", none, "--min", 1.0)
    assert list(none.rglob("*.wav")) == []


def test_segments_of_files_with_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    sound = wav_bytes(noise(5, seed=1))
    for site in ("north", "south"):
        (tmp_path / site).mkdir()
        (tmp_path / site / "20240601_050000.wav").write_bytes(sound)
    (tmp_path / f"{'ä' * 120}.wav").write_bytes(sound)  # as long as a name can be
    done = tinyastd("classify", tmp_path, "--segments", tmp_path / "cut", env=ACCEPT_ALL)
    assert done.returncode == 0, done.stderr
    cut = [path.name for path in (tmp_path / "cut").rglob("*.wav")]
    assert len(cut) == 3
    assert any("ä" * 100 in name for name in cut)


def test_what_makes_no_sense_is_said(recordings: Path, tmp_path: Path) -> None:
    for options, words in (
        (("--join",), "--join is for raven, audacity, kaleidoscope"),
        (("--format", "parquet"), "name one with --output"),
        (("--output", tmp_path / "gone" / "x.csv"), "cannot write"),
    ):
        done = tinyastd("classify", recordings, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr


def detection(start: float, label: str, score: float = 0.9) -> Detection:
    return Detection("/x/a\tb.wav", start, start + 5, label, score, "2024-06-01T04:30:00.000Z")


def test_neighbours_of_one_label_are_joined() -> None:
    made = joined(
        [detection(0, "dog", 0.8), detection(5, "dog"), detection(10, "cat"), detection(20, "cat")]
    )
    assert [(each.label, each.start_s, each.end_s, each.score) for each in made] == [
        ("dog", 0, 10, 0.9), ("cat", 10, 15, 0.9), ("cat", 20, 25, 0.9)
    ]  # fmt: skip


def test_a_detection_that_a_person_corrected_stands_alone() -> None:
    right, wrong = (
        replace(detection(5, "dog"), manual="dog"),
        replace(detection(10, "dog"), manual="cat"),
    )
    made = joined([detection(0, "dog"), right, wrong, detection(15, "dog")])
    assert [(each.start_s, each.end_s, each.manual) for each in made] == [
        (0, 10, "dog"), (10, 15, "cat"), (15, 20, "")
    ]  # fmt: skip


def test_a_tab_in_a_name_moves_no_cell() -> None:
    recording = Recording("/x/a\tb.wav", 5, (detection(0, "dog\tcat"),))
    for lines in (raven([recording]), audacity([recording])):
        cells = {line.count("\t") for line in lines}
        assert len(cells) == 1
    assert "dog\tcat" in "".join(kaleidoscope([recording]))


# -- similar -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory, esc50: Path) -> Path:
    """Ten roosters planted among minutes of other sound; the eleventh is the clip to look for."""
    folder = tmp_path_factory.mktemp("hours")
    table = pd.read_csv(esc50 / "esc50.csv")
    roosters = table[table["category"] == "rooster"]["filename"].tolist()
    others = table[~table["category"].isin(["rooster", "hen", "crow"])]["filename"].tolist()[::9]

    def sound(name: str) -> tuple[Float, int]:
        path = esc50 / "audio" / f"{Path(name).stem}.flac"
        samples, rate = soundfile.read(path, dtype="float32")
        return samples, rate

    sequence: list[Float] = []
    planted: list[float] = []
    for number, name in enumerate(others):
        if number % (len(others) // 10) == 4 and len(planted) < 10:
            planted.append(len(sequence) * 5.0)
            sequence.append(sound(roosters[1 + len(planted)])[0])
        sequence.append(sound(name)[0])
    _, rate = sound(roosters[0])
    soundfile.write(folder / "long.flac", np.concatenate(sequence), rate)
    shutil.copy(esc50 / "audio" / f"{Path(roosters[0]).stem}.flac", folder / "clip.flac")
    (folder / "planted.json").write_text(json.dumps(planted))
    return folder


def test_similar_finds_what_was_planted(hours: Path) -> None:
    done = tinyastd("similar", hours / "clip.flac", hours / "long.flac", "--hop", 5)
    assert done.returncode == 0, done.stderr
    found = [float(row["start_s"]) for row in csv.DictReader(io.StringIO(done.stdout))]
    assert len(found) == 20
    planted = json.loads((hours / "planted.json").read_text())
    assert sum(any(abs(at - start) < 2.5 for at in found) for start in planted) >= 8


def test_similar_names_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_bytes(wav_bytes(noise(1)))
    (tmp_path / "bad.wav").write_text("no sound")
    done = tinyastd("similar", tmp_path / "clip.wav", tmp_path)
    assert "left out: " in done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "there is no file" in tinyastd("similar", tmp_path / "x.wav", tmp_path).stderr
    assert "cannot be read" in tinyastd("similar", tmp_path / "bad.wav", tmp_path).stderr
