"""Archives and outputs in object storage: a real S3 server, which answers badly at times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.fs
import pyarrow.parquet
import pytest
from archives import RATE_OF_FLAC, Row, alone, archive, job, listed, long_stereo, made, ordered
from object_store import PAGE, ObjectStore
from running import STRESS
from sounds import short_wav

from daemon.cluster.entries import Entry
from daemon.cluster.fetching import opened_entry
from daemon.cluster.job import claim
from daemon.cluster.plan import read_part
from daemon.cluster.splitting import Cut
from daemon.cluster.storage import StorageError, place

COUNT = 1_000 if STRESS >= 1 else 2 * PAGE + 20


@pytest.fixture(scope="module")
def store() -> Iterator[pyarrow.fs.FileSystem]:
    """pyarrow's view of the server, with buckets archive, results and closed."""
    with ObjectStore() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        files = pyarrow.fs.S3FileSystem(
            endpoint_override=f"http://127.0.0.1:{server.port}",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        files.create_dir("archive")
        files.create_dir("results")
        yield files


def upload(store: pyarrow.fs.FileSystem, data: bytes, key: str) -> None:
    with store.open_output_stream(key) as out:
        out.write(data)


def table(store: pyarrow.fs.FileSystem, output: str) -> list[Row]:
    found = store.get_file_info(pyarrow.fs.FileSelector(output, recursive=True))
    parts = [
        pyarrow.parquet.read_table(store.open_input_file(info.path))
        for info in found
        if info.base_name.startswith("part-")
    ]
    rows: list[Row] = pyarrow.concat_tables(parts).to_pylist()
    return ordered(rows)


def test_a_bucket_gives_the_rows_of_the_files_in_it(
    store: pyarrow.fs.FileSystem, tmp_path: Path
) -> None:
    folder = archive(tmp_path / "in", COUNT)
    for path in folder.rglob("*"):
        if path.is_file():
            upload(store, path.read_bytes(), f"archive/all/{path.relative_to(folder)}")
    one = job(["s3://archive/all"], "s3://results/all")
    assert listed(one).files == COUNT  # in pages of PAGE
    made(one)
    assert not any(summary.made for summary in made(one))
    local = {str(folder): "s3://archive/all"}
    wanted = alone([folder], tmp_path)
    for row in wanted:
        row["path"] = str(row["path"]).replace(*next(iter(local.items())))
    names = [name for name in wanted[0] if name not in ("started_at", "clock")]
    found = table(store, "results/all")
    assert [{name: row[name] for name in names} for row in found] == [
        {name: row[name] for name in names} for row in ordered(wanted)
    ]
    assert {row["clock"] for row in found} == {"name", None}


def test_objects_that_vanish_are_denied_slow_or_fail_at_first(
    store: pyarrow.fs.FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.cluster.fetching.PAUSE_S", 0.0)
    for name in ("good", "gone", "secret", "slow", "failing"):
        upload(store, short_wav(), f"archive/odd/{name}.wav")
    sources = ["s3://archive/odd", "s3://archive/odd/never_there.wav", "s3://archive/odd/g*d.wav"]
    (summary,) = made(job(sources, "s3://results/odd", partition="none"))
    assert summary.errors == {"vanished": 2, "permission_denied": 1}
    rows = {str(row["path"]).split("/")[-1]: row for row in table(store, "results/odd")}
    assert {name for name, row in rows.items() if row["decision"] != "failed"} == {
        "good.wav", "slow.wav", "failing.wav",
    }  # fmt: skip
    assert "ACCESS_DENIED" in str(rows["secret.wav"]["error"])


def test_a_bucket_without_access_is_a_clear_error(store: pyarrow.fs.FileSystem) -> None:
    with pytest.raises(StorageError, match=r"s3://closed.*give credentials"):
        listed(job(["s3://closed"], "s3://results/closed"))
    with pytest.raises(StorageError, match="cannot read s3://closed/out"):
        claim(job(["s3://archive/odd"], "s3://closed/out"), overwrite=False)
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/x: there is no such bucket"):
        listed(job(["s3://no-such-bucket/x"], "s3://results/none"))


def test_slices_read_only_their_part_of_an_object(
    store: pyarrow.fs.FileSystem, tmp_path: Path
) -> None:
    path = long_stereo(tmp_path / "long.wav", 63, b"LIST\4\0\0\0INFO")
    upload(store, path.read_bytes(), "archive/long/long.wav")
    slice_bytes = 12 * RATE_OF_FLAC * 4
    made(one := job(["s3://archive/long"], "s3://results/long"), slice_bytes)
    wanted = alone([path], tmp_path)
    names = ["start_s", "end_s", "label", "score", "rms_dbfs", "score_2", "score_3", "decision"]
    found = table(store, "results/long")
    assert [[row[name] for name in names] for row in found] == [
        [row[name] for name in names] for row in wanted
    ]
    entries = read_part(one.place, 0).entries
    assert all(each.last is not None for each in entries)
    cut = Cut(5.0, 5.0, 86_400.0, slice_bytes)
    with opened_entry(entries[-1], "s3://archive/long/long.wav", cut.span(entries[-1])) as fd:
        copy = os.fstat(fd)
    assert copy.st_size == path.stat().st_size
    assert copy.st_blocks * 512 < copy.st_size / 2  # the rest are holes


def test_options_of_an_address_hold_for_the_objects_below_it() -> None:
    one = job(["s3://b/k?region=eu-west-1", "s3://c/k"], "s3://results/o?region=eu-west-1")
    assert one.address(b"s3://b/k/x.wav") == "s3://b/k/x.wav?region=eu-west-1"
    assert one.address(b"s3://c/k/x.wav") == "s3://c/k/x.wav"
    assert place("s3://b/k?region=eu-west-1").path == "b/k"
    assert not Entry(b"/a/s3://b").is_remote
