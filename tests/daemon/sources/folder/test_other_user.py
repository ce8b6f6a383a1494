"""Files that belong to others, as under the systemd unit: the system grants no lease on them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Daemon, of_type
from sounds import header, noise, wav_bytes, write_wav

MakeDaemon = Callable[..., Daemon]

NOBODY = 65_534


@pytest.fixture
def stranger(daemon: MakeDaemon) -> Iterator[Callable[..., Daemon]]:
    """Make daemons that run as another user than the tests; files wait 300 s to settle."""
    probe = [*_as_nobody(), "true"]
    if shutil.which("setpriv") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("to run a program as another user needs root and setpriv")
    base = Path(tempfile.mkdtemp(prefix="tinyast-"))
    base.chmod(0o755)

    def make(**values: object) -> Daemon:
        settings = {"path": f"{base}/in", "name": "in", "settle": 300.0, **values}
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        (base / "settings.toml").write_text(f"[[folder]]\n{lines}")
        (base / "state").mkdir()
        one = daemon("--config", str(base / "settings.toml"), base=base)
        for folder in (base, one.state, one.folder):
            os.chown(folder, NOBODY, -1)
        inner = one.command

        def command() -> list[str]:
            return [*_as_nobody(), *inner()]

        one.command = command  # type: ignore[method-assign]
        return one

    yield make
    shutil.rmtree(base)


def _as_nobody() -> list[str]:
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def ends(listening: Daemon, count: int) -> dict[str, dict[str, Any]]:
    return {Path(end["source"]["path"]).name: end for end in listening.ends(count)}


def test_a_file_is_taken_when_it_is_whole_and_no_sooner(
    stranger: Callable[..., Daemon], tmp_path: Path
) -> None:
    listening = stranger().start()
    folder, whole = listening.folder, wav_bytes(noise(12))
    samples = whole[44:]
    with (
        (folder / "stream.wav").open("wb") as stream,
        (folder / "carried.part").open("wb") as carried,
        (folder / "silent.wav").open("wb") as silent,
    ):
        for writer in (stream, carried):  # a header without a promise
            writer.write(header(0) + samples[: len(samples) // 2])
            writer.flush()
        os.rename(folder / "carried.part", folder / "carried.wav")
        shutil.copy(write_wav(folder / ".moved.XyZ", seed=1), folder / "copied.wav")
        os.rename(folder / ".moved.XyZ", folder / "moved.wav")
        os.link(write_wav(listening.base / "outside.wav", seed=2), folder / "linked.wav")
        first = ends(listening, 3)
        assert sorted(first) == ["copied.wav", "linked.wav", "moved.wav"]
        assert listening.status()["sources"][0]["files"]["settling"] == 3
        for writer in (stream, carried):
            writer.write(samples[len(samples) // 2 :])
        silent.write(wav_bytes(noise(1)))
    after = ends(listening, 6)
    assert {name: after[name]["duration_s"] for name in after.keys() - first.keys()} == {
        "stream.wav": 12.0,
        "carried.wav": 12.0,
        "silent.wav": 1.0,
    }
    assert {end["state"] for end in after.values()} == {"done"}


def test_a_file_that_may_have_a_writer_stays_until_it_is_old(
    stranger: Callable[..., Daemon],
) -> None:
    listening = stranger(settle=3.0, after="delete")  # ten times that is how long it stays
    unknown = listening.folder / "unknown.wav"
    samples = wav_bytes(noise(10))[44:]
    with unknown.open("wb") as writer:  # it was opened before the daemon could see it
        writer.write(header(0) + samples[: len(samples) // 2])
        writer.flush()
        listening.start()
        first = listening.ends(1)[0]
        assert (first["state"], first["duration_s"]) == ("done", 5.0)
        closed = listening.folder / "closed.wav"
        shutil.copy(write_wav(listening.base / "closed.wav"), closed)
        listening.wait_for(lambda: not closed.exists(), "deleted, as its writer closed it")
        assert unknown.exists()
        assert listening.status()["sources"][0]["files"]["held"] == 1
        assert listening.status()["backlog"]["files"] == 0
        writer.write(samples[len(samples) // 2 :])
    second = listening.ends(3)[-1]
    assert (second["state"], second["duration_s"]) == ("done", 10.0)
    listening.wait_for(lambda: not unknown.exists(), "deleted after its writer closed it")


def test_a_folder_that_becomes_readable_is_read_and_a_file_that_stays_is_said_once(
    stranger: Callable[..., Daemon],
) -> None:
    """rsync gives folders their modes last; in a folder like /tmp others' files cannot be moved."""
    listening = stranger(recursive=True, after="move", rescan=3600.0, settle=0.2)
    at_start, later, sticky = (listening.folder / name for name in ("start", "later", "sticky"))
    for folder in (at_start, sticky):
        folder.mkdir()
    at_start.chmod(0)
    sticky.chmod(0o1777)
    listening.start()
    later.mkdir(0)
    write_wav(later / "a.wav", seed=1)
    for folder in (at_start, later):
        folder.chmod(0o777)
    write_wav(at_start / "b.wav", seed=2)
    assert {end["state"] for end in listening.ends(2)} == {"done"}
    for number in range(6):
        path = write_wav(listening.base / "new.wav", seconds=1, seed=number + 3)
        if number:
            os.chown(path, NOBODY, -1)
        path.rename(sticky / f"{number}.wav")
        listening.ends(number + 3)
    moved = listening.folder / "done" / "sticky"
    listening.wait_for(lambda: moved.is_dir() and len(list(moved.iterdir())) == 5, "moved")
    assert [path.name for path in sticky.iterdir()] == ["0.wav"]
    heard = listening.hear(lambda r: r[-1:] and r[-1].message["seq"] >= listening.newest())
    said = [m["text"] for m in of_type(heard, "status") if m["status"] == "source_degraded"]
    assert len(said) == 1
    assert "0.wav" in said[0]
