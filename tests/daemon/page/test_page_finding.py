"""Files that the daemon moved after it classified them: the page still plays and exports them."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from disks import mounted
from pages import PageProcess
from running import Daemon
from sounds import write_wav

from daemon.page.finding import open_version
from daemon.protocol.file_ids import file_id
from tinyast.arrays import Float

SETTINGS = """
[[folder]]
path = "{folder}"
recursive = true
after = "move"
"""


def test_moved_files_play_and_export(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Two of one name, one in a folder below, and one whose place a link has taken since."""
    settings = tmp_path / "tinyast.toml"
    settings.write_text(SETTINGS.format(folder=tmp_path / "in"))
    running = daemon("--config", str(settings)).start()
    inbox, done = running.folder, running.folder / "done"
    expected: list[Float] = []
    moved = ("a.wav", "night/b.wav", "a-1.wav")
    for number, name in enumerate(("a.wav", "night/b.wav", "a.wav"), start=1):
        path = write_wav(tmp_path / "made.wav", seed=number)
        expected.append(soundfile.read(path)[0])
        (inbox / name).parent.mkdir(exist_ok=True)
        path.rename(inbox / name)
        running.ends(number)
        running.wait_for((done / moved[number - 1]).exists, "moved")
    assert sorted(path.name for path in done.rglob("*.wav")) == ["a-1.wav", "a.wav", "b.wav"]
    page = PageProcess(tmp_path, running).start()
    try:
        rows = sorted(page.predictions(3), key=lambda row: int(row["published"]))
        assert len({row["file_id"] for row in rows}) == 3
        page.wait_for(lambda: heard(page, rows[0]["number"]) is not None, "told its folders")
        for row, samples in zip(rows, expected, strict=True):
            played = heard(page, row["number"])
            assert played is not None
            np.testing.assert_allclose(played, samples, atol=1e-4)
            review = f"/api/v1/predictions/{row['number']}/review"
            assert page.http.put(review, json={"verdict": "right"}, headers=page.token).is_success
        archive = zipfile.ZipFile(io.BytesIO(page.http.get("/api/v1/reviews.zip").content))
        assert len([name for name in archive.namelist() if name.endswith(".wav")]) == 3
        secret = (done / "a.wav").rename(tmp_path / "secret.wav")
        (done / "a.wav").symlink_to(secret)
        assert heard(page, rows[0]["number"]) is None
        (done / "night").rename(tmp_path / "elsewhere")
        (done / "night").symlink_to(tmp_path / "elsewhere")
        assert heard(page, rows[1]["number"]) is None
        assert heard(page, rows[2]["number"]) is not None
    finally:
        page.clean_up()


def heard(page: PageProcess, number: int) -> Float | None:
    answer = page.http.get(f"/api/v1/predictions/{number}/sound.wav")
    if answer.status_code == 404:
        return None
    samples: Float = soundfile.read(io.BytesIO(answer.content))[0]
    return samples


def version(path: Path, number: int = 1) -> str:
    found = path.stat()
    return file_id(os.fsencode(path), found.st_ino, found.st_size, found.st_mtime_ns, number)


def content(root: Path, path: Path, wanted: str | None) -> bytes:
    fd = open_version(os.fsencode(root), os.fsencode(path), wanted, 0.0)
    with open(fd, "rb") as file:
        return file.read()


def test_a_newer_file_in_its_place_is_not_mistaken_for_it(tmp_path: Path) -> None:
    path, done = tmp_path / "a.wav", tmp_path / "done"
    path.write_bytes(b"first")
    first = version(path)
    done.mkdir()
    (done / "a-2.wav").write_bytes(b"another")
    path.rename(done / "a.wav")
    path.write_bytes(b"second")
    second = version(path, 2)
    assert content(tmp_path, path, first) == b"first"
    assert content(tmp_path, path, second) == b"second"
    assert content(tmp_path, path, "0" * 32) == b"second"  # a file system of changing inodes
    path.unlink()
    with pytest.raises(FileNotFoundError):
        content(tmp_path, path, second)


def test_a_copy_on_another_disk_is_known_by_its_name(tmp_path: Path) -> None:
    path, done = tmp_path / "a.wav", tmp_path / "done"
    path.write_bytes(b"first")
    wanted = version(path)
    with mounted(done, "size=1m"):
        shutil.copy2(path, done / "a.wav")
        path.unlink()
        assert content(tmp_path, path, wanted) == b"first"
        (done / "a-1.wav").write_bytes(b"another")
        with pytest.raises(FileNotFoundError):
            content(tmp_path, path, wanted)
