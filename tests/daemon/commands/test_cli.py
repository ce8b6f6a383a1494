"""The command line, as a shell sees it: output, error output and exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from msgspec.structs import replace
from running import SOON_S, Daemon, free_port, of_type, tinyastd
from saying import predictions
from sounds import header, noise, wav_bytes, write_wav

from daemon.commands.batch.classify_output import CSV_FIELDS, ROWS, Result, finished_in
from daemon.errors import SettingsError
from daemon.monitoring.logging import printable
from daemon.protocol.messages import Prediction, file_source
from tinyast.inference.checkpoint import default_path

COMMANDS = (
    "run", "listen", "classify", "reprocess", "devices", "status", "doctor", "keygen"
)  # fmt: skip


def one_line_error(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """It ended with `code` and one line for people."""
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("tinyastd: ")
    for part in parts:
        assert part in line


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder of three recordings: one of three windows, one short, one in a folder below."""
    folder = tmp_path / "sounds"
    (folder / "below").mkdir(parents=True)
    write_wav(folder / "a.wav", 12, 44_100, 1)
    write_wav(folder / "b.wav", 1, 16_000, 2)
    write_wav(folder / "below" / "c.wav", 5, 48_000, 3)
    return folder


# -- help and exit codes -------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_is_for(command: str) -> None:
    done = tinyastd(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert done.stderr == ""


def test_the_version_is_printed() -> None:
    done = tinyastd("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "tinyastd")


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["run", "--nonsense"], ["run", "--engine", "abacus"],
     ["listen", "--since", "-1"], ["classify"]],
)  # fmt: skip
def test_bad_usage_is_code_2(arguments: list[str]) -> None:
    done = tinyastd(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("toml", "part"),
    [
        ("publsh = 'x'", "did you mean `publish`"),
        ("publish = 'udp://x'", "an endpoint looks like"),
        ("publish = 'tcp://0.0.0.0:5755'", "insecure"),
        ("[decision]\ndeny = ['dogg']", "did you mean `dog`"),
        ("[[folder]]\npath = '.'\ntime_zone = 'Mars'", "time_zone"),
    ],
)
def test_bad_settings_are_code_2_and_one_line(tmp_path: Path, toml: str, part: str) -> None:
    config = tmp_path / "a.toml"
    config.write_text(toml)
    (tmp_path / "data" / "test").mkdir(parents=True)
    done = tinyastd("run", "--config", config, "--state", tmp_path / "state", cwd=tmp_path)
    one_line_error(done, 2, part)


def test_what_cannot_start_is_code_3_and_one_line(tmp_path: Path) -> None:
    missing, file, state = tmp_path / "missing", tmp_path / "file", tmp_path / "state"
    file.touch()
    here = ("run", "--watch", tmp_path)
    one_line_error(tinyastd("run", "--watch", missing, "--state", state), 3, str(missing))
    done = tinyastd("run", "--watch", file, "--state", state)
    one_line_error(done, 3, f"{file} is a file; name its folder")
    one_line_error(tinyastd(*here, "--state", file), 3, str(file), "--state")
    done = tinyastd(*here, "--state", state, "--checkpoint", tmp_path)
    one_line_error(done, 3, "not a checkpoint")
    done = tinyastd(*here, "--state", state, "--publish", f"ipc://{file}")
    one_line_error(done, 3, str(file))
    assert file.read_bytes() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_is_asked_to_stop_is_code_0(
    daemon: Callable[..., Daemon], number: int
) -> None:
    one = daemon().start()
    one.send(number)
    assert one.process.wait(SOON_S) == 0


def test_status_without_a_daemon_is_code_1_and_says_how_to_start_one(tmp_path: Path) -> None:
    ends = ("--publish", f"ipc://{tmp_path}/p", "--replay", f"ipc://{tmp_path}/r")
    one_line_error(tinyastd("status", *ends), 1, "no daemon answers", "tinyastd run")


# -- asking a daemon -----------------------------------------------------------------------------


def test_status_describes_a_daemon_for_people_and_programs(daemon: Callable[..., Daemon]) -> None:
    one = daemon().start()
    write_wav(one.folder / "a.wav")
    one.ends(1)
    ends = ("--publish", one.publish, "--replay", one.replay)
    answer = json.loads(tinyastd("status", *ends, "--json").stdout)
    assert answer["pid"] == one.process.pid
    assert answer["published"]["file.done"] == 1
    text = tinyastd("status", *ends).stdout
    for part in (str(one.process.pid), one.publish, str(one.state), "1 done", str(one.folder)):
        assert part in text


def test_listen_prints_what_was_said_and_ends_quietly(daemon: Callable[..., Daemon]) -> None:
    one = daemon().start()
    write_wav(one.folder / "a.wav")
    one.ends(1)
    lines = [json.loads(line) for line in listened(one, 3, "--json")]
    assert [line["type"] for line in lines] == ["status", "prediction", "file"]
    assert [line["seq"] for line in lines] == [1, 2, 3]
    started, heard, ended = listened(one, 3)
    assert "started" in started
    assert lines[1]["label"] in heard
    assert str(one.folder / "a.wav") in heard
    assert "done" in ended
    since = ("--since-time", lines[1]["published_at"])  # both are committed at once
    assert listened(one, 2, since=since) == [heard, ended]


def listened(
    daemon: Daemon, count: int, *options: str, since: tuple[str, ...] = ("--since", "0")
) -> list[str]:
    """The first lines of `tinyastd listen`, which then stops at Ctrl-C without a word."""
    command = [sys.executable, "-m", "daemon", "listen", *since, *options]
    command += ["--publish", daemon.publish, "--replay", daemon.replay]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGINT)
        assert process.wait(SOON_S) == 0
        assert process.stderr.read() == ""
    return lines


def test_reprocess_has_a_file_classified_again(daemon: Callable[..., Daemon]) -> None:
    one = daemon().start()
    path = write_wav(one.folder / "a.wav")
    one.ends(1)
    where = ("--watch", one.folder, "--state", one.state)
    ends = ("--publish", one.publish, "--replay", one.replay)
    for count, options in enumerate((where, ends), start=1):  # the running daemon knows where
        done = tinyastd("reprocess", path, *options)
        assert done.returncode == 0, done.stderr
        *_, first, second = one.ends(1 + count)
        assert first["source"]["path"] == second["source"]["path"] == str(path)
        assert first["file_id"] != second["file_id"]
        one_line_error(tinyastd("reprocess", ROOT / "README.md", *options), 2, "watched")
        one_line_error(tinyastd("reprocess", one.folder / "none.wav", *options), 2, "none.wav")
    (one.folder / "b.flac").write_bytes(b"not looked at")
    (one.folder / "below").mkdir()
    write_wav(one.folder / "below" / "c.wav")
    assert tinyastd("reprocess", one.folder, *ends).stdout.startswith("1 file: ")


# -- classify ------------------------------------------------------------------------------------


def test_classify_prints_a_table_for_people(sounds: Path) -> None:
    done = tinyastd("classify", sounds)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert [line.split()[-1] for line in lines] == [
        *[str(sounds / "a.wav")] * 3,
        str(sounds / "b.wav"),
        str(sounds / "below" / "c.wav"),
    ]
    assert done.stderr == ""


def test_classify_prints_csv(sounds: Path) -> None:
    done = tinyastd("classify", sounds, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert tuple(rows[0]) == CSV_FIELDS
    assert [(float(r["start_s"]), float(r["end_s"])) for r in rows] == [
        (0, 5), (5, 10), (7, 12), (0, 1), (0, 5)
    ]  # fmt: skip
    assert all(0 < float(row["score"]) <= 1 for row in rows)


def test_a_recording_whose_channels_cancel_is_not_silence(tmp_path: Path) -> None:
    sound = noise(5)
    (tmp_path / "mono.wav").write_bytes(wav_bytes(sound))
    (tmp_path / "stereo.wav").write_bytes(wav_bytes(np.stack([sound, -sound], axis=1)))
    done = tinyastd("classify", tmp_path, "--format", "jsonl")
    mono, stereo = map(json.loads, done.stdout.splitlines())
    assert mono["rms_dbfs"] == stereo["rms_dbfs"] == pytest.approx(-20, abs=0.5)
    assert mono["top"] == stereo["top"]


def test_classify_takes_files_and_folders_once_each(sounds: Path) -> None:
    done = tinyastd("classify", sounds / "b.wav", sounds, sounds / "b.wav", "--format", "csv")
    paths = [row["path"] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert paths[0] == str(sounds / "b.wav")
    assert paths.count(str(sounds / "b.wav")) == 1


def test_classify_reads_what_formats_allow(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(wav_bytes(noise(1), format="FLAC"))
    said = f"no .wav files in {tmp_path}; left out: 1 .flac; to have them read: --formats wav,flac"
    one_line_error(tinyastd("classify", tmp_path), 2, said)
    done = tinyastd("classify", path)
    assert done.returncode == 1
    assert "format_not_allowed" in done.stderr
    assert "--formats all" in done.stderr
    assert tinyastd("classify", path, "--formats", "all").returncode == 0
    done = tinyastd("classify", tmp_path, "--formats", "wav,flac", "--format", "csv")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    one_line_error(tinyastd("classify", path, "--formats", "wave"), 2, "wave", "wav, flac")


def test_links_pipes_and_other_formats_in_a_folder_are_counted(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 1)
    (tmp_path / "b.flac").write_bytes(wav_bytes(noise(1), format="FLAC"))
    (tmp_path / "link.wav").symlink_to("a.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    done = tinyastd("classify", tmp_path, "--format", "csv")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    links, others = done.stderr.splitlines()
    assert links.startswith("left out: 2 links, pipes and devices")
    assert others == "left out: 1 .flac; to have them read: --formats wav,flac"


def test_a_link_means_its_file_and_a_pipe_is_refused(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", 1)
    (tmp_path / "link.wav").symlink_to("a.wav")
    done = tinyastd("classify", tmp_path / "link.wav", path, "--format", "csv")
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["path", str(path)]
    os.mkfifo(tmp_path / "pipe.wav")
    done = tinyastd("classify", tmp_path / "pipe.wav")
    assert done.returncode == 1
    assert "not a file but a folder, pipe or device" in done.stderr
    done = tinyastd("similar", path, tmp_path, tmp_path / "pipe.wav", timeout=60)
    assert len(done.stdout.splitlines()) == 2
    assert "pipe.wav: it is not a file" in done.stderr


def test_a_file_that_was_cut_short_is_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(noise(12, seed=1))[:-100_000])
    done = tinyastd("classify", path, "--format", "jsonl")
    assert done.returncode == 1
    assert "promises 100000 bytes more" in done.stderr
    *windows, end = map(json.loads, done.stdout.splitlines())
    assert (end["state"], end["error"]["code"]) == ("incomplete", "cut_short")
    assert end["windows"] == len(windows) > 1


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path) -> None:
    for command in ("classify", "keygen"):
        one_line_error(tinyastd(command, "", cwd=tmp_path), 2, "is empty; name a path")
    assert not list(tmp_path.iterdir())


def test_a_suffix_of_no_format_is_refused(sounds: Path, tmp_path: Path) -> None:
    done = tinyastd("classify", sounds, "--output", tmp_path / "a.json")
    one_line_error(done, 2, ".jsonl", "--format")
    assert not (tmp_path / "a.json").exists()


def test_a_file_that_fails_is_code_1_and_the_others_are_classified(sounds: Path) -> None:
    (sounds / "aa.wav").write_bytes(b"no sound")
    (sounds / "ab\x1b[31m.wav").write_bytes(header(100, rate=1) + bytes(100))
    done = tinyastd("classify", sounds, "--format", "csv")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 8  # with a row for each file that failed
    errors = done.stderr.splitlines()
    assert len(errors) == 3
    assert "not_audio" in errors[0]
    assert "bad_rate" in errors[1]
    assert "\x1b" not in done.stderr
    assert "2 of 5 files failed" in errors[2]


def test_what_is_not_there_is_code_2(tmp_path: Path) -> None:
    one_line_error(tinyastd("classify", tmp_path / "none"), 2, "none")
    one_line_error(tinyastd("classify", tmp_path), 2, "no .wav files")


def test_classify_gives_the_scores_of_the_daemon(
    daemon: Callable[..., Daemon], originals: list[Path]
) -> None:
    one = daemon().start()
    for path in originals:
        shutil.copy(path, one.folder)
    for seed, (seconds, rate) in enumerate([(0.3, 8_000), (13, 44_100), (6, 48_000)]):
        write_wav(one.folder / f"{seed}.wav", seconds, rate, seed)
    count = len(originals) + 3
    heard = one.hear(lambda r: len(of_type(r, "file")) >= count)
    said = {m["id"]: m for m in of_type(heard, "prediction")}

    done = tinyastd("classify", one.folder, "--format", "jsonl")
    own = [json.loads(line) for line in done.stdout.splitlines()]
    assert {m["id"] for m in own} == set(said)
    for message in own:
        theirs = said[message["id"]]
        assert theirs.keys() - message.keys() == {"seq", "prev", "journal", "run_id", "latency_ms"}
        assert message["source"].pop("name") == "classify"
        assert theirs["source"].pop("name") == "in"
        del message["published_at"]
        assert message == {key: theirs[key] for key in message}

    done = tinyastd("classify", one.folder, "--format", "csv")
    printed = {tuple(row[:7]) for row in csv.reader(done.stdout.splitlines()[1:])}
    assert printed == {
        (
            m["source"]["path"],
            str(m["window"]["start_s"]),
            str(m["window"]["end_s"]),
            m["label"],
            str(m["score"]),
            m["decision"],
            m["reason"] or "",
        )
        for m in said.values()
    }


# -- classify --output, resumed -------------------------------------------------------------------


def output_of(sounds: Path, output: Path, kind: str = "csv", *more: str) -> str:
    done = tinyastd("classify", sounds, "--format", kind, "--output", output, *more)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99, 1])
def test_an_output_cut_off_anywhere_is_gone_on_with(
    sounds: Path, tmp_path: Path, share: float
) -> None:
    output = tmp_path / "out.csv"
    output_of(sounds, output)
    whole = output.read_bytes()
    output.write_bytes(whole[: int(len(whole) * share)])
    said = output_of(sounds, output)
    assert output.read_bytes() == whole
    if share == 1:
        assert "resuming: 3 files already in" in said


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_last_file_whose_name_is_not_utf_8_is_done_once(tmp_path: Path, kind: str) -> None:
    output, folder = tmp_path / "out", tmp_path / "in"
    folder.mkdir()
    for name in (b"a.wav", b"z\xe9.wav"):
        write_wav(Path(os.fsdecode(os.fsencode(folder) + b"/" + name)), 1)
    output_of(folder, output, kind)
    whole = output.read_bytes()
    assert "resuming: 2 files already in" in output_of(folder, output, kind)
    assert output.read_bytes() == whole


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_midway_is_gone_on_with(tmp_path: Path, number: int) -> None:
    folder, output, whole = tmp_path / "many", tmp_path / "out.csv", tmp_path / "whole.csv"
    folder.mkdir()
    for seed in range(50):
        write_wav(folder / f"{seed:03}.wav", 6, seed=seed)
    output_of(folder, whole)
    options = ("--format", "csv", "--workers", "1", "--output", str(output))
    command = [sys.executable, "-m", "daemon", "classify", str(folder), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as it:
        while it.poll() is None and (not output.exists() or output.stat().st_size < 1_000):
            select.select([], [], [], 0.005)
        it.send_signal(number)
        assert it.stderr is not None
        assert b"Traceback" not in it.stderr.read()
    assert it.returncode != 0
    assert 0 < output.stat().st_size < whole.stat().st_size
    output_of(folder, output)
    assert output.read_bytes() == whole.read_bytes()


def test_jsonl_is_gone_on_with_too(sounds: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output_of(sounds, output, "jsonl")
    lines = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join(lines[:3]) + lines[3][:50])
    output_of(sounds, output, "jsonl")
    again = output.read_bytes().splitlines(keepends=True)
    assert again[:3] == lines[:3]
    assert [json.loads(a)["id"] for a in again] == [json.loads(b)["id"] for b in lines]


def test_overwrite_begins_anew(sounds: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    output.write_text("something else\n")
    output_of(sounds, output, "csv", "--overwrite")
    assert len(output.read_text().splitlines()) == 6


@pytest.mark.parametrize("kind", ["csv", "jsonl", "table"])
@pytest.mark.parametrize("text", ["my notes", "my notes\n", "{}\n", "a,b\n1,2\n"])
def test_an_output_that_holds_something_else_is_left_alone(
    tmp_path: Path, kind: str, text: str
) -> None:
    output = tmp_path / "out"
    output.write_text(text)
    if kind == "table":
        write_wav(tmp_path / "a.wav", 1)
        done = tinyastd("classify", tmp_path / "a.wav", "--output", output)
        one_line_error(done, 2, "--overwrite")
    else:
        with pytest.raises(SettingsError, match="--overwrite"):
            finished_in(output, kind, lambda path: 1)
    assert output.read_text() == text


NAMES = ("plain", "a, c", 'quo"ted', "new\nline", "carriage\rreturn", "\u00e4\r\n\u2603")


def result(path: str, windows: int) -> Result:
    return Result(path.encode(), [prediction(path, index) for index in range(windows)])


def prediction(path: str, index: int) -> Prediction:
    (made,) = predictions(1)
    window = replace(made.window, start_s=5.0 * index, end_s=5.0 * index + 5)
    return replace(made, source=file_source("classify", path.encode()), window=window)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_whatever_a_file_is_called_an_output_cut_at_any_byte_loses_and_repeats_nothing(
    tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "out"
    windows = {f"/in/{name}.wav": 1 + number % 3 for number, name in enumerate(NAMES)}
    begin = ",".join(CSV_FIELDS) + "\n" if kind == "csv" else ""
    parts = [ROWS[kind](result(path, count)) for path, count in windows.items()]
    whole = (begin + "".join(parts)).encode()
    ends = [at for at, byte in enumerate(whole) if byte in b"\r\n"]
    near = {end + offset for end in ends for offset in (-1, 0, 1, 2)}
    for length in sorted({*range(0, len(whole), 11), *near} & {*range(len(whole) + 1)}):
        output.write_bytes(whole[:length])
        finished = finished_in(output, kind, lambda path: windows[path])
        kept = output.read_bytes()
        todo = [ROWS[kind](result(p, n)) for p, n in windows.items() if p not in finished]
        begun = kept or begin.encode()
        assert begun + "".join(todo).encode() == whole


# -- on a terminal -------------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[tuple[int, Callable[[bytes], bytes]]]:
    """A terminal to write to, and what reads it until some text has been seen."""
    ours, theirs = pty.openpty()

    def until(text: bytes) -> bytes:
        seen = b""
        while text not in seen:
            assert select.select([ours], [], [], 60)[0], seen
            seen += os.read(ours, 65_536)
        return seen

    yield theirs, until
    os.close(ours)
    os.close(theirs)


def test_a_person_sees_progress_and_a_pipe_does_not(
    sounds: Path, terminal: tuple[int, Callable[[bytes], bytes]]
) -> None:
    screen, until = terminal
    command = [sys.executable, "-m", "daemon", "classify", str(sounds), "--format", "csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=screen) as it:
        until(b"3/3")
        assert it.stdout is not None
        assert len(it.stdout.read().splitlines()) == 6
    assert it.returncode == 0


def test_a_person_is_told_where_the_daemon_listens_and_what_to_do_next(
    tmp_path: Path, terminal: tuple[int, Callable[[bytes], bytes]]
) -> None:
    screen, until = terminal
    one = Daemon(tmp_path)
    with subprocess.Popen(one.command(), stderr=screen) as it:
        try:
            text = until(b"stops.").decode()
            for part in ("tinyastd is ready", one.publish, one.replay, str(one.state)):
                assert part in text
            assert f"tinyastd listen --publish {one.publish} --replay {one.replay}" in text
        finally:
            it.terminate()
    assert it.returncode == 0


# -- doctor --------------------------------------------------------------------------------------


def doctor(tmp_path: Path, *arguments: object, toml: str = "", **more: Any) -> Any:
    """`tinyastd doctor` on a separate folder and endpoints."""
    (tmp_path / "in").mkdir(exist_ok=True)
    config = tmp_path / "doctor.toml"
    places = f"publish = 'ipc://{tmp_path}/p'\nreplay = 'ipc://{tmp_path}/r'\n"
    config.write_text(places + (toml or f"[[folder]]\npath = '{tmp_path}/in'"))
    return tinyastd("doctor", "--config", config, "--state", tmp_path / "state", *arguments, **more)


def assert_fixable(done: Any, *parts: str) -> None:
    """One check fails, names `parts`, and says how to mend it."""
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("fail")]
    for part in parts:
        assert part in lines[at]
    assert lines[at + 1].strip().startswith("fix: ")


def test_doctor_finds_nothing_wrong_where_nothing_is(tmp_path: Path) -> None:
    done = doctor(tmp_path)
    assert done.returncode == 0, done.stdout
    kinds = {line.split()[0] for line in done.stdout.splitlines()}
    assert kinds <= {"ok", "warn"}
    assert "50 labels" in done.stdout
    assert not (tmp_path / "state").exists()  # it only looks


def test_doctor_knows_a_daemon_that_runs(daemon: Callable[..., Daemon]) -> None:
    one = daemon().start()
    done = tinyastd(
        "doctor", "--watch", one.folder, "--state", one.state,
        "--publish", one.publish, "--replay", one.replay,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert f"process {one.process.pid}" in done.stdout
    assert one.process.poll() is None


def test_doctor_is_content_beside_the_daemon_of_another_state(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    one = daemon().start()
    ends = ("--publish", one.publish, "--replay", one.replay)
    done = tinyastd("doctor", "--watch", one.folder, "--state", tmp_path / "other", *ends)
    assert done.returncode == 0, done.stdout
    (line,) = [each for each in done.stdout.splitlines() if " endpoints " in each]
    assert line.startswith("warn")
    assert f"process {one.process.pid}, state directory {one.state}" in line
    assert f"add --state {one.state}" in done.stdout


def test_doctor_knows_a_daemon_that_runs_and_has_keys(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    assert tinyastd("keygen", tmp_path / "keys").returncode == 0
    one = daemon("--keys", str(tmp_path / "keys"))
    one.publish, one.replay = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    one.start()
    done = tinyastd("doctor", *one.command()[4:])
    assert done.returncode == 0, done.stdout
    assert f"process {one.process.pid}" in done.stdout


def test_doctor_takes_all_that_run_takes() -> None:
    taken = {
        command: set(re.findall(r"--[a-z-]+", tinyastd(command, "--help").stdout))
        for command in ("run", "doctor")
    }
    assert {"--config", "--watch", "--keys", "--metrics"} < taken["run"]
    # A check in advance cannot tell how signals are handled.
    assert taken["doctor"] == taken["run"] - {"--reload-on-hup"}


def test_doctor_names_who_holds_the_address_of_metrics(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = doctor(tmp_path, "--metrics", address)
        assert_fixable(done, "metrics", address, f"process {os.getpid()}")
    assert doctor(tmp_path, "--metrics", address).returncode == 0
    assert_fixable(doctor(tmp_path, "--metrics", "0.0.0.0:9755"), "metrics", "--insecure")


def test_doctor_misses_a_folder(tmp_path: Path) -> None:
    done = doctor(tmp_path, toml=f"[[folder]]\npath = '{tmp_path}/none'")
    assert_fixable(done, "folder none", "does not exist")
    (tmp_path / "afile").touch()
    done = doctor(tmp_path, toml=f"[[folder]]\npath = '{tmp_path}/afile'")
    assert_fixable(done, "folder afile", "is a file")


def test_doctor_sees_a_link_in_place_of_done(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "done").symlink_to(tmp_path)
    toml = f"[[folder]]\npath = '{tmp_path}/in'\nafter = 'move'"
    assert_fixable(doctor(tmp_path, toml=toml), "folder in", "symbolic link")


def test_doctor_sees_a_time_zone_that_nobody_knows(tmp_path: Path) -> None:
    toml = f"[[folder]]\npath = '{tmp_path}/in'\ntime_zone = 'Mars/Olympus'"
    assert_fixable(doctor(tmp_path, toml=toml), "Mars/Olympus")


def test_doctor_sees_a_state_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = doctor(tmp_path, "--state", tmp_path / "file" / "below")
    assert_fixable(done, "state", str(tmp_path / "file"))


def test_doctor_sees_a_journal_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    journal = tmp_path / "state" / "journal.sqlite3"
    journal.write_bytes(b"no database, by no means\n" * 100)
    before = journal.read_bytes()
    assert_fixable(doctor(tmp_path), "state", "journal")
    assert journal.read_bytes() == before  # a doctor looks, and does not operate


def test_doctor_sees_a_damaged_model(tmp_path: Path) -> None:
    model = shutil.copytree(default_path(), tmp_path / "model")
    with (model / "model.onnx").open("ab") as graph:
        graph.write(b"\0" * 8)
    assert_fixable(doctor(tmp_path, "--checkpoint", model), "model", "model.onnx")
    assert_fixable(doctor(tmp_path, "--checkpoint", tmp_path), "model", "not a checkpoint")


def test_doctor_sees_a_rule_for_a_label_that_is_none(tmp_path: Path) -> None:
    toml = f"[[folder]]\npath = '{tmp_path}/in'\n[decision]\ndeny = ['dogg']"
    assert_fixable(doctor(tmp_path, toml=toml), "dogg", "did you mean `dog`")


def test_doctor_names_who_holds_an_endpoint(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = doctor(tmp_path, "--publish", f"tcp://127.0.0.1:{port}")
        assert_fixable(done, "endpoints", str(port), f"process {os.getpid()}")


def test_doctor_sees_another_package_called_daemon(tmp_path: Path) -> None:
    other = tmp_path / "site" / "python_daemon-3.1.2.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: python-daemon\nVersion: 3.1.2\n")
    paths = os.pathsep.join((str(ROOT), str(tmp_path / "site")))
    done = doctor(tmp_path, env={"PYTHONPATH": paths})
    assert_fixable(done, "packages", "python-daemon")


# -- logs ----------------------------------------------------------------------------------------


def test_log_lines_are_json_whatever_a_folder_is_called(tmp_path: Path) -> None:
    base = tmp_path / "evil\x1b[31m\n{} \u202e"
    base.mkdir()
    watched = base / "in\x07"
    watched.mkdir()
    one = Daemon(tmp_path, "--watch", str(watched))
    try:
        one.start()
        assert one.stop() == 0
        text = one.log.read_text()
        records = [json.loads(line) for line in text.splitlines()]
        assert {"time", "level", "logger", "text"} <= set(records[0])
        assert any(str(tmp_path) in record["text"] for record in records)
        assert not any(c in text for c in "\x1b\x07\u202e")
    finally:
        one.clean_up()


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\x1b[2J", "\x9b1m", "\u202egpj", "\udcff", "\0"])
def test_text_for_terminals_cannot_move_a_cursor_or_break_an_encoder(text: str) -> None:
    safe = printable(text)
    assert safe.isprintable()
    assert safe.encode("ascii", "strict")


def test_text_for_terminals_keeps_what_people_read() -> None:
    assert printable("Gel\u00e4nder \u2603 \u97f3.wav") == "Gel\u00e4nder \u2603 \u97f3.wav"
