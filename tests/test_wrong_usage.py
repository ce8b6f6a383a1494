"""Wrong usages, each answered by one message that names the fault, its place and the remedy.

Commands run in this process, as `tinyastd` runs them; no command gets to a running daemon.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest
import soundfile
from conftest import ROOT
from sounds import noise, write_wav

from daemon.cli import app as cli

ENDS = ("--publish", "ipc://p", "--replay", "ipc://r")
STATE = ("--state", "state")
HERE = (*STATE, *ENDS)
FOLDER = "[[folder]]\npath = 'in'\n"
STUCK_S = 60  # a command that runs so long was not refused


@dataclass(frozen=True)
class Wrong:
    """A command, its exit code, and parts of its message: the fault, its place, the remedy."""

    words: tuple[str, ...]
    code: int
    parts: tuple[str, ...]
    toml: str | None = None  # settings, for `{config}` among the words

    def __str__(self) -> str:
        if self.toml is None:
            return " ".join(self.words)
        return f"{self.words[0]} {self.toml.removeprefix(FOLDER)}".replace("\n", " ")


def wrong(command: str, code: int, *parts: str) -> Wrong:
    return Wrong(tuple(command.split()), code, parts)


def settings(toml: str, *parts: str, code: int = 2) -> Wrong:
    return Wrong(("run", "--config", "{config}", *HERE), code, parts, toml)


PATHS = [
    wrong("classify nowhere.wav", 2, "no file or folder", "nowhere.wav"),
    wrong("classify nothing", 2, "no .wav files in nothing"),
    wrong("classify fl", 2, "left out: 1 .flac", "--formats wav,flac"),
    wrong("classify", 2, "Missing argument"),
    wrong("classify good.wav --output no/x.csv", 2, "there is no folder", "make it"),
    wrong("classify good.wav --output nothing", 2, "cannot write nothing", "name a file"),
    wrong("classify good.wav --format xml", 2, "--format", "'csv'"),
    wrong("classify good.wav --format parquet", 2, "--output"),
    wrong("classify good.wav --format csv --join", 2, "--join is for raven"),
    wrong("classify good.wav --segments afile", 2, "cannot make afile", "name a folder"),
    wrong("classify good.wav --min 0.5", 2, "--min", "add --segments"),
    wrong("classify good.wav --segments s --min 0.9 --max 0.1", 2, "--min 0.9", "from 0 to 1"),
    wrong("classify good.wav --per-label 0", 2, "--per-label"),
    wrong("classify good.wav --partition folder", 2, "--partition needs --on"),
    wrong("classify good.wav --on ray --min 0.9 --output o", 2, "--min does not go with --on"),
    wrong("classify nowhere --on ray --output o", 2, "no file or folder", "nowhere"),
    wrong("classify s3://bucket/x", 2, "s3://bucket/x needs --on ray"),
    wrong("classify @list.txt", 2, "@list.txt needs --on ray"),
    wrong("classify *.aiff", 2, "*.aiff", "leave its quotes out"),
    wrong("reprocess good.wav --watch in", 2, "good.wav is in no watched folder", "watched are"),
    wrong("reprocess in --watch in --state afile", 2, "cannot write", "afile"),
    wrong("run --watch nowhere --state state", 3, "there is no folder", "nowhere", "--watch"),
    wrong("run --watch in --watch nowhere --state state", 3, "there is no folder", "nowhere"),
    wrong("run --watch in --watch in --state state", 2, "two folders are named `in`"),
    wrong("run --watch afile --state state", 3, "afile is a file", "name its folder"),
    wrong("doctor --watch in --config nowhere.toml", 2, "no settings file nowhere.toml"),
]
AUDIO = [
    wrong("classify text.wav", 1, "text.wav", "not audio of a known format"),
    wrong("classify empty.wav", 1, "empty.wav", "the file is empty"),
    wrong("classify cut.flac --formats flac", 1, "cut.flac", "cannot read it", "again"),
    wrong("classify bad.flac --formats flac", 1, "bad.flac", "cannot read it", "again"),
    wrong("classify fl/a.flac", 1, "a.flac", "FLAC", "formats"),
    wrong("classify good.wav --formats wave", 2, "'wave'", "known are wav, flac"),
    wrong("similar text.wav good.wav", 2, "text.wav cannot be read", "not audio"),
    wrong("similar nothing good.wav", 2, "nothing holds no sound", "name a clip"),
    wrong("similar good.wav nothing", 2, "no recordings in nothing", "name folders"),
    wrong("similar good.wav nowhere", 2, "no file or folder", "nowhere"),
    wrong("similar good.wav text.wav", 2, "text.wav: its content", "none of these could be read"),
    wrong("similar good.wav good.wav --hop 0", 2, "--hop", "0.1"),
]
TABLES = [
    wrong("classify good.wav --output other.csv", 2, "other.csv", "--overwrite"),
    wrong("classify good.wav --output none.jsonl", 2, "none.jsonl", "--overwrite"),
    wrong("classify good.wav --embeddings e.csv", 2, "Parquet only", "e.parquet"),
    wrong("classify good.wav --embeddings x.parquet", 2, "x.parquet", "no Parquet", "another"),
    wrong("classify good.wav --embeddings no/e.parquet", 2, "there is no folder", "make it"),
    wrong("similar good.wav x.parquet", 2, "x.parquet", "--embeddings"),
    wrong("learn csv-columns --output o", 2, "metadata.csv", "name, kind", "add filename"),
    wrong("learn csv-missing --output o", 2, "line 2", "no file csv-missing/a.wav"),
    wrong("learn csv-empty --output o", 2, "metadata.csv lists no clips", "filename and label"),
    wrong("learn csv-times --output o", 2, "line 2", "end_s is 2", "not after 5"),
    wrong("learn csv-bytes --output o", 2, "metadata.csv is not a CSV in UTF-8", "folder"),
    wrong("learn good.wav --output o", 2, "good.wav is not a CSV", "name a folder"),
]
LEARNING = [
    wrong("learn nowhere --output o", 2, "no folder nowhere", "sub-folder"),
    wrong("learn nothing --output o", 2, "nothing has no clips", "nothing/kettle"),
    wrong("learn one --output o", 2, "single clip of 'a'", "5 to 30"),
    wrong("learn one", 2, "--output"),
    wrong("learn mine --output afile", 2, "afile is a file", "name a folder"),
    wrong("learn mine --output o --precision 2", 2, "--precision", "0.9"),
]
CHECKPOINTS = [
    wrong("labels --checkpoint esc51", 2, "esc51", "(esc50, esc50-fine)", "--checkpoint"),
    wrong("classify good.wav --checkpoint afile", 2, "afile", "neither a checkpoint"),
    wrong("classify good.wav --checkpoint nothing", 2, "no config.json", "scripts.export"),
    wrong("classify good.wav --checkpoint ck-graph", 2, "ck-graph has no model.onnx", "export"),
    wrong("classify good.wav --checkpoint ck-json", 2, "ck-json/config.json", "again"),
    wrong("classify good.wav --checkpoint ck-bytes", 2, "model.onnx differs", "copy"),
    wrong("classify good.wav --checkpoint ck-int8 --engine int8", 2, "int8.onnx", "--int8"),
    wrong("classify good.wav --checkpoint ck-features", 2, "no preprocessor_config.json"),
    wrong(f"run --watch in --checkpoint nothing {' '.join(HERE)}", 3, "not a checkpoint"),
]
ENGINES = [
    wrong("classify good.wav --engine abacus", 2, "'abacus'", "'int8'"),
    wrong("classify good.wav --workers many", 2, "--workers", "'many'"),
    wrong("classify good.wav --workers -1", 2, "`workers`", "at least 0"),
    settings(f"workers = 999\n{FOLDER}", "`workers`", "at most 256"),
    settings(f"engine = 'fast'\n{FOLDER}", "`engine`", "auto, onnx, int8, torch"),
]
ENDPOINTS = [
    wrong("status --replay localhost:5756", 2, "`replay` is `localhost:5756`", "looks like"),
    wrong("status --replay tcp://127.0.0.1", 2, "`replay`", "tcp://127.0.0.1:5755"),
    wrong("status --replay tcp://127.0.0.1:99999", 2, "a port is at most 65535"),
    wrong("status --publish ipc://p --replay ipc://r", 1, "no daemon answers", "tinyastd run"),
    wrong("listen --publish bogus", 2, "`publish` is `bogus`", "looks like"),
    wrong("listen --topic dog", 2, "no topic begins so", "--label dog"),
    wrong("listen --since -1", 2, "--since", "-1"),
    wrong("listen --json --by-file", 2, "--json", "leave out --by-file"),
    wrong(f"run --watch in {' '.join(STATE)} --publish udp://x", 2, "`publish`", "looks like"),
    wrong(
        f"run --watch in {' '.join(STATE)} --publish tcp://0.0.0.0:5755", 2, "keygen", "insecure"
    ),
    wrong(f"run --watch in {' '.join(STATE)} --publish tcp://127.0.0.1:99999", 2, "65535"),
    wrong(f"run --watch in {' '.join(STATE)} --publish ipc://afile", 3, "afile", "not a socket"),
    wrong(f"run --watch in {' '.join(STATE)} --publish {{taken}}", 3, "in use by", "--publish"),
]
PORTS = [
    settings(f"metrics = '9100'\n{FOLDER}", "`metrics` is `9100`", "127.0.0.1:9755"),
    settings(f"metrics = '127.0.0.1:99999'\n{FOLDER}", "`metrics`", "looks like"),
    settings(f"metrics = '0.0.0.0:9100'\n{FOLDER}", "`metrics`", "other machines", "127.0.0.1"),
    wrong("page --port 0", 2, "--port", "1<=x<=65535"),
    wrong("page --store st --port {port}", 3, "in use by", "--port"),
    wrong("mqtt --port 99999999", 2, "--port"),
    settings(f"{FOLDER}[mqtt]\nport = 99999", "`mqtt.port`", "at most 65535"),
]
SUBSCRIBERS = [
    wrong("page --store afile", 3, "afile", "name a folder", "--store"),
    wrong("page --token=", 2, "--token needs a name"),
    wrong("page --host 0.0.0.0 --store st", 2, "other machines can reach", "--password-file"),
    wrong(
        "page --password-file nowhere --store st",
        2,
        "cannot read `password_file` nowhere",
        "chmod 600",
    ),
    wrong("page --password-file open --store st", 2, "open to other users", "chmod 600 open"),
    wrong("page --tls-cert afile --store st", 2, "--tls-cert and --tls-key go together"),
    wrong("page --tls-cert afile --tls-key afile --store st", 2, "not a certificate and key (PEM)"),
    wrong("page --public-url bogus --store st", 2, "`public_url`", "https://"),
    wrong("page --connect x --store st", 2, "--connect is PUBLISH,REPLAY", "tcp://a:5755"),
    wrong(f"notify {' '.join(HERE)}", 2, "no [[notify]]", "--url"),
    settings(f"{FOLDER}[page]\nprot = 80", "a.toml", "unknown setting `page.prot`", "`port`?"),
    settings(f"{FOLDER}[page]\nport = 0", "a.toml", "`page.port`", "at least 1"),
    settings(
        f"{FOLDER}[page]\npassword_file = 'nowhere'",
        "a.toml: [page]",
        "cannot read `password_file` nowhere of [page]",
        "chmod 600",
    ),
    settings(
        f"{FOLDER}[page]\nhost = '192.0.2.1'\npassword_file = 'secret'",
        "a.toml: [page]",
        "cannot listen at 192.0.2.1:5757",
        "`host`",
        code=3,
    ),
    settings(
        f"{FOLDER}[mqtt]\ntls = true\nca_file = 'nowhere'",
        "a.toml: [mqtt]",
        "`ca_file` nowhere",
        "No such file",
        "certificates (PEM)",
    ),
    settings(
        f"{FOLDER}[mqtt]\nuser = 'me'\npassword_file = 'nowhere'",
        "a.toml: [mqtt]",
        "`password_file` nowhere",
        "No such file",
    ),
    settings(f"{FOLDER}[mqtt]\nhots = 'x'", "a.toml", "unknown setting `mqtt.hots`", "`host`?"),
    settings(
        f"{FOLDER}[[notify]]\nurls = ['foo://x']",
        "a.toml: [[notify]]",
        "no service knows",
        "'foo'",
        "apprise/wiki",
    ),
    settings(f"{FOLDER}[[notify]]\nurl = 'x'", "unknown setting `notify[0].url`", "`urls`?"),
]
KEYS = [
    wrong("keygen afile", 2, "cannot write keys to afile", "name a folder"),
    wrong("keygen nothing --client x", 2, "no server key yet", "tinyastd keygen nothing"),
    wrong("keygen nothing --client a/b", 2, "`a/b`", "letters"),
    wrong("status --server-key afile", 2, "--server-key and --own-key go together"),
    wrong("status --server-key afile --own-key afile", 2, "afile", "no key", "keygen"),
    wrong("status --server-key afile --own-key nowhere", 2, "nowhere", "keygen"),
    settings(f"keys = 'nothing'\n{FOLDER}", "nothing/server.key_secret", "keygen"),
]
JOURNAL = [
    wrong("backup copy --state nowhere", 3, "no journal in", "--state"),
    wrong("restore nowhere --state s", 3, "no file nowhere", "tinyastd backup"),
    wrong("restore good.wav --state s", 3, "good.wav is no journal", "tinyastd backup"),
    wrong("restore nothing --state s", 3, "no file nothing", "tinyastd backup"),
    wrong(f"run --watch in --state afile {' '.join(ENDS)}", 3, "state directory", "afile"),
]
PERMISSION = [
    wrong(f"run --watch in --state /sys/tinyast {' '.join(ENDS)}", 3, "/sys/tinyast", "may not"),
    wrong("classify good.wav --segments /sys/tinyast", 2, "/sys/tinyast", "may not write"),
    wrong("keygen /sys/tinyast", 2, "/sys/tinyast", "may not write"),
]
TOML = [
    wrong("run --config nowhere.toml", 2, "no settings file nowhere.toml", "--config"),
    wrong("run --config in", 2, "settings in are a folder", "TOML file"),
    wrong("run --config good.wav", 2, "settings good.wav are not UTF-8 text"),
    settings("publish", "not TOML", "Expected '='"),
    settings("publsh = 'x'", "unknown setting `publsh`", "did you mean `publish`?"),
    settings("publish = 5", "`publish` is text in quotes", "tcp://127.0.0.1:5755"),
    settings("[folder]\npath = 'in'", "write [[folder]], with two brackets"),
    settings(f"{FOLDER}[[decision]]\nthreshold = 0.5", "write [decision], with one bracket"),
    settings("[[folder]]\nname = 'x'", "`folder[0]` has no `path`"),
    settings("[[folder]]\npath = ''", "`path` of a folder is empty", "name the folder"),
    settings("[[folder]]\npath = 'nowhere'", "no such folder", "write its absolute path"),
    settings("[[folder]]\npath = '/nowhere'", "there is no folder", "make it", code=3),
    settings(f"{FOLDER}{FOLDER}", "two folders are named `in`", "`name`"),
    settings(f"{FOLDER}formats = ['wma']", "'wma'", "wav, flac, ogg"),
    settings(f"{FOLDER}formats = 'wav'", "`folder[0].formats` is a list", '["wav", "flac"]'),
    settings(f"{FOLDER}formats = []", "`formats` of folder `in` is empty", '["wav", "flac"]'),
    settings(f"{FOLDER}suffixes = ['wav']", "'wav'", "write a dot before it"),
    settings(f"{FOLDER}settle = 0", "`folder[0].settle` is a number above 0"),
    settings(f"{FOLDER}channel = 'left'", "'left'", "mix, loudest", "number of a channel"),
    settings(f"{FOLDER}recursive = 'yes'", "`folder[0].recursive` is true or false"),
    settings(f"{FOLDER}checkpoint = 'x'", "unknown setting `folder[0].checkpoint`", "known are"),
    settings("folder = []", "nothing to listen to", "[[folder]]"),
    settings(f"{FOLDER}[decision]\nthreshold = 75", "`decision.threshold`", "at most 1"),
    settings(f"{FOLDER}[decision]\nthreshold = '0.75'", "a number such as 0.75, not text"),
    settings(f"{FOLDER}[decision]\nthreshold = nan", "`decision.threshold`", "finite"),
    settings(f"{FOLDER}[events]\nconfirm_count = 4", "`events`", "4 windows", "3"),
    settings(f"{FOLDER}[journal]\nkeep_mb = 0.5", "`journal.keep_mb`", "at least 1"),
    settings(f"{FOLDER}[privacy]\nspeech = 'maybe'", "'maybe'", "keep, no_sound, drop"),
    settings(f"{FOLDER}[log]\nlevel = 'loud'", "'loud'", "debug, info"),
    settings(f"{FOLDER}[[notify]]\nhours = '25-26'", "`notify[0].hours`", '"22:00-07:00"'),
]
NAMES = [
    settings(f"{FOLDER}time_zone = 'Mars'", "`time_zone` is `Mars`", "Europe/Berlin"),
    settings(f"{FOLDER}time_pattern = '('", "`time_pattern` of folder `in`", "missing )"),
    settings(f"{FOLDER}[decision.thresholds]\ndogg = 0.5", "`dogg`", "did you mean `dog`?"),
    settings(f"{FOLDER}[decision]\nallow = ['dogs']", "`decision.allow`", "did you mean `dog`?"),
    settings(f"{FOLDER}[events.labels.dogg]\nend_after = 5", "`events.labels`", "`dog`?"),
    settings(f"{FOLDER}[[notify]]\nlabels = ['dogg']", "`notify[0].labels`", "`dog`?"),
]
DEVICES = [
    settings("[[microphone]]\nhop = 0.01", "`microphone[0].hop`", "at least 0.1"),
    settings("[[microphone]]\n[[microphone]]", "two microphones are named `mic`", "`name`"),
    settings("[[stream]]\nname = 'x'", "`url` of stream `x` is empty", "rtsp://"),
    settings("[[stream]]\nurl = 'ftp://x'", "`url` of stream `stream`", "rtsp://"),
    settings("[[stream]]\nurl = 'tcp://h:1'", "without a header", "`rate`"),
    settings("[[stream]]\nurl = 'udp://h'", "names no port"),
]
COMMANDS = [
    wrong("lissten", 2, "No such command 'lissten'", "'listen'"),
    wrong("run --nonsense", 2, "No such option", "--nonsense"),
    wrong("status extra", 2, "unexpected extra argument", "extra"),
]
ALL = [
    *PATHS, *AUDIO, *TABLES, *LEARNING, *CHECKPOINTS, *ENGINES, *ENDPOINTS, *PORTS, *SUBSCRIBERS,
    *KEYS, *JOURNAL, *PERMISSION, *TOML, *NAMES, *DEVICES, *COMMANDS,
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good and bad things of each kind, which no case changes."""
    place = tmp_path_factory.mktemp("wrong")
    for name in ("in", "nothing", "fl", "one/a", "mine/a", "mine/b", "data/test"):
        (place / name).mkdir(parents=True)
    write_wav(place / "good.wav", 1)
    for name in ("one/a/1", "mine/a/1", "mine/a/2", "mine/b/1", "mine/b/2"):
        shutil.copy(place / "good.wav", place / f"{name}.wav")
    (place / "text.wav").write_text("this is text, not sound\n" * 9)
    for name in ("empty.wav", "afile", "open"):
        (place / name).touch(0o644)
    (place / "secret").write_text("correct horse")
    (place / "secret").chmod(0o600)
    soundfile.write(place / "fl" / "a.flac", noise(1), 16_000)
    (place / "cut.flac").write_bytes((place / "fl" / "a.flac").read_bytes()[:60])
    (place / "bad.flac").write_bytes(b"fLaC" + b"\xff" * 3000)
    (place / "other.csv").write_text("something,else\n1,2\n")
    (place / "none.jsonl").write_text('{"a": 1}\n')
    (place / "x.parquet").write_text("no parquet")
    _tables(place)
    _checkpoints(place)
    return place


def _tables(place: Path) -> None:
    for name, text in {
        "columns": b"name,kind\na.wav,x\n",
        "missing": b"filename,label\na.wav,x\n",
        "empty": b"",
        "times": b"filename,label,start_s,end_s\n../good.wav,x,5,2\n",
        "bytes": b"filename,label\n\xff.wav,x\n",
    }.items():
        (place / f"csv-{name}").mkdir()
        (place / f"csv-{name}" / "metadata.csv").write_bytes(text)


def _checkpoints(place: Path) -> None:
    """Copies of the shipped one, each with one fault."""
    for name in ("graph", "json", "bytes", "int8", "features"):
        shutil.copytree(ROOT / "tinyast" / "checkpoints" / "esc50", place / f"ck-{name}")
    (place / "ck-graph" / "model.onnx").unlink()
    (place / "ck-int8" / "model.int8.onnx").unlink()
    (place / "ck-features" / "preprocessor_config.json").unlink()
    (place / "ck-json" / "config.json").write_text("{")
    graph = bytearray((place / "ck-bytes" / "model.onnx").read_bytes())
    graph[len(graph) // 2] ^= 0xFF
    (place / "ck-bytes" / "model.onnx").write_bytes(graph)


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    """A TCP port that something else listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@contextmanager
def not_for_ever() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"it still ran after {STUCK_S} s: the mistake was not refused")

    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(STUCK_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_a_mistake_is_answered_by_one_message_that_helps(
    case: Wrong,
    place: Path,
    taken: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.toml").write_text(case.toml or "")
    filled = {"config": str(tmp_path / "a.toml"), "port": str(taken)}
    filled["taken"] = f"tcp://127.0.0.1:{taken}"
    words = [word.format(**filled) if "{" in word else word for word in case.words]
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["tinyastd", *words])
    with not_for_ever(), pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == case.code, said
    lines = [line for line in said.splitlines() if not line.startswith('{"time"')]
    if "Usage:" in lines[0]:  # of an option: Usage, where help is, and a box with a sentence
        assert len(lines) <= 6, said
    elif said.startswith("left out: ") or (case.words[0] == "classify" and case.code == 1):
        # Of a file, then of all.
        assert len(lines) == 2, said
    else:
        assert len(lines) == 1, said
        assert lines[0].startswith("tinyastd: ")
    assert "Traceback" not in said
    assert "[Errno" not in said
    for part in case.parts:
        assert part in " ".join(said.split()), said


@pytest.mark.parametrize(
    "command",
    ["learn mine --output @/x", "keygen @/keys", "labels --checkpoint @/ck",
     "classify good.wav --output @/x.csv", "classify good.wav --output @.csv",
     "classify @/x.wav", "restore @/x", "listen --own-key @/a --server-key @/b"],
)  # fmt: skip
def test_what_this_user_may_not_enter_or_read_is_named(
    command: str, place: Path, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0)
    (tmp_path / "closed.csv").write_text("path\n")
    (tmp_path / "closed.csv").chmod(0)
    words = command.replace("@", str(closed)).split()
    dropped = "--bounding-set=-dac_override,-dac_read_search"
    ended = subprocess.run(
        [*(["setpriv", dropped] * (os.geteuid() == 0)), sys.executable, "-m", "daemon", *words],
        cwd=place, capture_output=True, text=True, timeout=STUCK_S,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode in (1, 2, 3)
    said = ended.stderr
    assert str(closed) in said
    assert len(said.splitlines()) == (
        2 if words[0] == "classify" and "--output" not in words else 1
    )
    assert "ermission denied" in said or "may not" in said


def test_the_table_is_long() -> None:
    assert len({str(case) for case in ALL}) == len(ALL) >= 80


def test_mistakes_leave_other_files_as_they_are(place: Path) -> None:
    assert (place / "other.csv").read_text() == "something,else\n1,2\n"
    assert json.loads((place / "none.jsonl").read_text()) == {"a": 1}
    assert (place / "afile").stat().st_size == 0
