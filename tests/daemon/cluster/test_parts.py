"""Plans, parts and restarts of a job, without a cluster: an actor's work in this process."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from archives import RATE_OF_FLAC, alone, archive, job, listed, long_stereo, made, names_in, rows
from msgspec.structs import replace
from sounds import noise, wav_bytes, write_wav

from daemon.cluster import plan
from daemon.cluster.connection import check_on
from daemon.cluster.driver import Actor, work
from daemon.cluster.entries import Entry, Seen
from daemon.cluster.job import claim
from daemon.cluster.plan import partitions, read_part
from daemon.cluster.progress import Progress
from daemon.cluster.splitting import Cut
from daemon.cluster.storage import StorageError, place
from daemon.errors import SettingsError
from daemon.settings.schema import Folder
from daemon.tables.parquet import read_embeddings


def test_parts_have_the_rows_of_classify_alone_to_the_bit(tmp_path: Path) -> None:
    sources = [archive(tmp_path / "in"), tmp_path / "gone.wav"]
    (tmp_path / "in" / os.fsdecode(b"caf\xe9.wav")).write_bytes(wav_bytes(noise(2)))
    done = made(job(sources, tmp_path / "out"))
    wanted = alone(sources, tmp_path)
    assert rows(tmp_path / "out", list(wanted[0])) == wanted
    assert sum(summary.files for summary in done) == 22
    assert sum(summary.windows for summary in done) == len(wanted) - 2
    errors = [error for summary in done for error in summary.errors.items()]
    assert sorted(errors) == [("not_audio", 1), ("vanished", 1)]
    progress = Progress()
    for summary in done:
        progress.add(summary)
    assert "22 files" in progress.summary()
    assert "not_audio 1" in progress.line(22, True)


def test_columns_beyond_those_of_csv(tmp_path: Path) -> None:
    archive(tmp_path / "in", 10)
    made(job([tmp_path / "in"], tmp_path / "out", embeddings=True))
    for row in rows(tmp_path / "out"):
        path = Path(str(row["path"]))
        assert row["bytes"] == path.stat().st_size
        if row["decision"] == "failed":
            assert row["error_code"] == row["reason"] == "not_audio"
            assert row["embedding"] is None
            continue
        scores = [row["score"], *[row[f"score_{place}"] for place in range(2, 6)]]
        assert scores == sorted(scores, key=lambda score: -float(str(score)))
        assert len({row["label"], *[row[f"label_{place}"] for place in range(2, 6)]}) == 5
        assert len(row["embedding"]) == 64  # type: ignore[arg-type]
    frame = pd.read_parquet(tmp_path / "out")  # without the plan
    assert len(frame) == len(rows(tmp_path / "out"))
    assert set(frame["date"].astype(str)) == {"2024-06-01", "2024-06-02", "2024-06-03"}
    part = next((tmp_path / "out").rglob("part-*"))
    assert all(len(each.embedding) == 64 for each in read_embeddings(part))


@pytest.mark.parametrize("after", [b"", b"some bytes that are no chunk" * 10])
def test_slices_of_a_long_recording_are_its_windows(tmp_path: Path, after: bytes) -> None:
    path = long_stereo(tmp_path / "long.wav", 63, after)
    slice_bytes = 12 * RATE_OF_FLAC * 4
    one = job([path], tmp_path / "out")
    done = made(one, slice_bytes)
    entries = [entry for each in done for entry in read_part(one.place, each.number).entries]
    assert [(each.first, each.last) for each in entries] == [
        (first, min(first + 2, 13)) for first in range(0, 13, 2)
    ]
    wanted = alone([path], tmp_path)
    assert len(wanted) == 13 + bool(after)
    assert rows(tmp_path / "out", list(wanted[0])) == wanted
    assert sum(summary.files for summary in done) == 1


def test_recordings_that_end_at_a_bad_sample_stay_whole(tmp_path: Path) -> None:
    sound = noise(60)
    sound[20 * 16_000] = np.nan
    path = tmp_path / "float.wav"
    path.write_bytes(wav_bytes(sound, subtype="FLOAT"))
    cut = Cut(5.0, 5.0, 86_400.0, slice_bytes=1 << 16)
    entry = Entry(os.fsencode(path), path.stat().st_size)
    assert list(cut.slices(entry, str(path))) == [entry]
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF" * 100_000)
    entry = Entry(os.fsencode(broken), 400_000)
    assert list(cut.slices(entry, str(broken))) == [entry]


def test_partitions_by_date_and_by_folder() -> None:
    folder, at = Folder(path="."), 1_700_000_000 * 10**9
    date, parent = partitions("date", folder), partitions("folder", folder)
    assert date(Entry(b"/a/rec_20240601_043000.wav", 1, at)) == "date=2024-06-01"
    assert date(Entry(b"s3://b/x.wav", 1, at)) == "date=2023-11-14"
    assert date(Entry(b"/x.wav", 1, 2**70)) == "date=1970-01-01"
    assert parent(Entry(b"/data/porch 1/x.wav")) == "folder=%2Fdata%2Fporch%201"
    long = [parent(Entry(b"/" + name * 300 + b"/x.wav")) for name in (b"a", b"b")]
    assert max(map(len, long)) <= 255
    assert len(set(long)) == 2
    assert partitions("none", folder)(Entry(b"/x.wav")) == ""


def test_a_restart_makes_what_is_missing_and_adds_what_came(tmp_path: Path) -> None:
    archive(tmp_path / "in")
    one = job([tmp_path / "in"], tmp_path / "out", partition="folder")
    made(one)
    before = names_in(tmp_path / "out")
    lost = min(before)
    (tmp_path / "out" / lost).unlink()
    write_wav(tmp_path / "in" / "station 1" / "later.wav")
    again = made(one)
    after = names_in(tmp_path / "out")
    assert {name: at for name, at in after.items() if name in before and name != lost} == {
        name: at for name, at in before.items() if name != lost
    }
    assert len(after) == len(before) + 1
    assert sorted(summary.made for summary in again) == [False] * (len(before) - 1) + [True] * 2
    paths = [row["path"] for row in rows(tmp_path / "out") if row["start_s"] in (0.0, None)]
    assert len(paths) == len(set(paths)) == 21


def test_sources_that_overlap_count_once(tmp_path: Path) -> None:
    folder = archive(tmp_path / "in")
    names = tmp_path / "names"
    names.write_text(f"{folder}\n\n{folder / 'station 0'}\n{folder}/*/*_2.wav\n")
    glob = f"{folder}/**/*_1?.flac"
    one = job([f"@{names}", folder, glob, folder / "*.none"], tmp_path / "out")
    assert listed(one).files == 20
    assert job([f"file://{folder}"], f"file://{tmp_path}/out").identity.sources == (str(folder),)
    with pytest.raises(SettingsError, match="cannot read the list"):
        listed(job([f"@{tmp_path}/none"], tmp_path / "other"))


def test_the_listing_counts_files_of_other_formats_and_links(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_wav(folder / "a.wav", 1)
    (folder / "b.ogg").touch()
    (folder / "link.wav").symlink_to("a.wav")
    links, others = listed(job([str(folder)], tmp_path / "out")).left_out
    assert links.startswith("left out: 1 links, pipes and devices")
    assert others == "left out: 1 .ogg; to have them read: --formats wav,flac,ogg"


def test_sources_without_a_file_to_read_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "b.ogg").touch()
    said = r"no \.wav/\.flac files in .*/in; left out: 1 \.ogg; to have them read: --formats wav,"
    with pytest.raises(SettingsError, match=said):
        list(work(job([str(folder)], tmp_path / "out"), Cut(5.0, 5.0, 60.0), 1, False))


def test_parts_are_small_in_files_and_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path / "in", 60)
    monkeypatch.setattr(plan, "MOST_FILES", 8)
    one = job([tmp_path / "in"], tmp_path / "out", partition="none")
    sizes = [len(read_part(one.place, n).entries) for n in range(listed(one).wait(0))]
    assert sizes == [8] * 7 + [4]
    monkeypatch.setattr(plan, "MOST_BYTES", 1)
    two = job([tmp_path / "in"], tmp_path / "two")
    assert listed(two).wait(0) == 60


def test_another_job_or_other_files_in_the_output_are_refused(tmp_path: Path) -> None:
    archive(tmp_path / "in")
    out = tmp_path / "out"
    first = job([tmp_path / "in"], out)
    assert not claim(first, overwrite=False)
    assert claim(first, overwrite=False)
    with pytest.raises(SettingsError, match="differs in SOURCE, embeddings; name another folder"):
        claim(job([tmp_path], out, embeddings=True), overwrite=False)
    claim(job([tmp_path], out), overwrite=True)
    with pytest.raises(SettingsError, match="is not empty"):
        claim(job([tmp_path / "in"], tmp_path / "in"), overwrite=False)
    with pytest.raises(SettingsError, match="which no such job wrote"):
        claim(job([tmp_path / "in"], tmp_path / "in"), overwrite=True)
    assert len(list((tmp_path / "in").rglob("rec_*"))) == 20


def test_an_actor_with_another_tinyast_or_model_says_so(tmp_path: Path) -> None:
    archive(tmp_path / "in", 1)
    one = job([tmp_path / "in"], tmp_path / "out")
    other = replace(one.identity, model_sha256="0" * 64)
    for given, words in (
        (replace(one, version="0.0"), "install the same version on all"),
        (replace(one, identity=other), "holds another model"),
    ):
        answer = Actor(msgspec.json.encode(given))({"part": np.array([0])})
        assert answer["summary"] == [b""]
        assert words in answer["fault"][0].decode()
    answer = Actor(msgspec.json.encode(one))({"part": np.array([7])})
    assert "part 7 of the plan" in answer["fault"][0].decode()


def test_what_cannot_be_written_leaves_nothing(small_disk: Path) -> None:
    output = place(str(small_disk / "out"))
    with pytest.raises(StorageError, match="No space left"):
        output.write("date=2024-06-01/part-000001.parquet", bytes(2 << 20))
    assert [path for path in (small_disk / "out").rglob("*") if path.is_file()] == []
    output.write("date=2024-06-01/part-000001.parquet", b"x")
    assert output.names("date=2024-06-01") == ["part-000001.parquet"]


def test_a_set_of_keys_knows_each_once() -> None:
    seen = Seen()
    keys = np.random.default_rng(1).integers(0, 2**64, 150_000, np.uint64).tolist()
    assert all(seen.add(key) for key in keys)
    assert not any(seen.add(key) for key in keys)


def test_what_is_missing_or_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_on("ray")
    check_on("ray://head:10001")
    for on in ("spark", "ray://head", "http://head:10001"):
        with pytest.raises(SettingsError, match="names the client port"):
            check_on(on)
    monkeypatch.setattr("daemon.cluster.connection.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'tinyast\[cluster\]'"):
        check_on("ray")
    with pytest.raises(SettingsError, match="is not an address of a store"):
        place("ftp://host/folder")
