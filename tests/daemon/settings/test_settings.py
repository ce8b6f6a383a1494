"""Settings: their sources, and the errors about settings that do not fit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import ROOT, tinyastd

from daemon.delivery.endpoints import bind, check_endpoint
from daemon.errors import SettingsError
from daemon.mqtt import broker
from daemon.notify.service import services
from daemon.page.web.access import read_password
from daemon.settings.loading import load
from daemon.settings.reload import compare
from daemon.settings.schema import Settings, Stream
from daemon.settings.streams import with_url
from daemon.settings.subscribers import Mqtt, Notify
from daemon.settings.urls import scrubbed


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Settings from the text of a file, an environment and flags."""

    def read(toml: str = "", env: dict[str, str] | None = None, **flags: Any) -> Settings:
        file = tmp_path / "tinyast.toml"
        file.write_text(toml)
        return load(file, env or {}, flags)

    return read


def refused(read: Any, *parts: str, toml: str = "", env: dict[str, str] | None = None) -> None:
    with pytest.raises(SettingsError) as caught:
        read(toml, env)
    for part in parts:
        assert part in str(caught.value)


# -- order ---------------------------------------------------------------------------------------


def test_defaults_are_enough() -> None:
    settings = load(None, {})
    assert settings.publish == "tcp://127.0.0.1:5755"
    assert settings.replay == "tcp://127.0.0.1:5756"
    (folder,) = settings.folder
    assert folder.path == os.path.abspath("data/test")
    assert folder.name == "test"
    assert folder.looks_at() == (".wav",)
    assert settings.node
    assert settings.worker_count == len(os.sched_getaffinity(0))


def test_a_file_goes_before_defaults_the_environment_before_it_and_flags_before_all(
    read: Any,
) -> None:
    toml, env = 'node = "file"\nworkers = 3\ntop = 7', {"TINYAST_NODE": "env", "TINYAST_TOP": "8"}
    settings = read(toml, env, top=9, workers=None)
    assert (settings.workers, settings.node, settings.top) == (3, "env", 9)
    assert settings.engine == "auto"


def test_the_environment_reaches_into_tables_and_leaves_the_rest_of_them(read: Any) -> None:
    toml = "[decision]\nthreshold = 0.3\nsilence_dbfs = -60.0"
    env = {"TINYAST_DECISION__THRESHOLD": "0.7", "TINYAST_DECISION__DENY": '["rain", "wind"]'}
    decision = read(toml, env).decision
    assert decision.threshold == 0.7
    assert decision.silence_dbfs == -60
    assert decision.deny == ("rain", "wind")


@pytest.mark.parametrize("value", ["7", "true", "2024-01-01", "'7'", "a b"])
def test_a_text_in_the_environment_needs_no_quotes(read: Any, value: str) -> None:
    assert read(env={"TINYAST_NODE": value}).node == value.strip("'")


def test_a_watched_folder_takes_the_place_of_those_configured(read: Any) -> None:
    toml = '[[folder]]\npath = "/a"\n[[folder]]\npath = "/b"'
    assert [f.path for f in read(toml).folder] == ["/a", "/b"]
    assert [f.path for f in read(toml, {"TINYAST_WATCH": "/c"}).folder] == ["/c"]
    assert [f.path for f in read(toml, {"TINYAST_WATCH": "/c"}, watch="/d").folder] == ["/d"]


def test_a_microphone_alone_needs_no_folder(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for toml in ("[[microphone]]", "[[stream]]\nurl = 'http://radio.example/'"):
        assert read(toml).folder == ()
    assert load(None, {}, {"device": ""}).folder == ()
    assert [each.name for each in load(None, {}).folder] == ["test"]  # a mistake that is named
    (tmp_path / "data" / "test").mkdir(parents=True)
    assert [each.name for each in read("[[microphone]]").folder] == ["test"]


def test_other_variables_are_none_of_its_business(read: Any) -> None:
    assert read(env={"PATH": "/bin", "TINYAST_STRESS": "1", "TINYAST_SHARED": "/s"})


def test_the_state_directory_is_where_the_system_keeps_state(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert read().state == "/x/tinyast"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/tinyast:/var/lib/other")
    assert read().state == "/var/lib/tinyast"
    assert read('state = "/mine"').state == "/mine"


# -- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "name", "meant"),
    [
        ("publsh = 'x'", "`publsh`", "`publish`"),
        ("[decision]\ntreshold = 1.0", "`decision.treshold`", "`threshold`"),
        ("[audio]\nhops = 5", "`audio.hops`", "`hop`"),
        ("[log]\nlevels = 'info'", "`log.levels`", "`level`"),
        ("[[folder]]\npath = 'a'\nrecurse = true", "`folder[0].recurse`", "`recursive`"),
        ("[[folder]]\npath = 'a'\n[[folder]]\npath='b'\nnam = 'x'", "`folder[1].nam`", "`name`"),
        ("[[microphone]]\ndevise = 'x'", "`microphone[0].devise`", "`device`"),
        ("[events]\nconfirm = 3", "`events.confirm", "`confirm_"),
        ("[events.labels.dog]\nend_afer = 3", "`events.labels", "`end_after`"),
        ("[journal]\nkep_days = 3", "`journal.kep_days`", "`keep_days`"),
        ("[folders]\npath = 'a'", "`folders`", "`folder`"),
    ],
)
def test_an_unknown_setting_is_named_with_what_was_meant(
    read: Any, toml: str, name: str, meant: str
) -> None:
    refused(read, f"unknown setting {name}", f"did you mean {meant}", "tinyast.toml", toml=toml)


def test_an_unknown_setting_like_no_other_is_told_which_there_are(read: Any) -> None:
    refused(read, "unknown setting `log.zzz`; known are format, level", toml="[log]\nzzz = 1")


KUBERNETES = {  # its variables for a service that is named tinyast
    "TINYAST_SERVICE_HOST": "10.0.0.1",
    "TINYAST_SERVICE_PORT": "5755",
    "TINYAST_PORT": "tcp://10.0.0.1:5755",
    "TINYAST_PORT_5755_TCP": "tcp://10.0.0.1:5755",
    "TINYAST_PORT_5755_TCP_PROTO": "tcp",
}
UNKNOWN = ["TINYAST_NOPE", "TINYAST_DECISION__NOPE", "TINYAST_NO__PE", "TINYAST_FOLDER__PATH"]


@pytest.mark.parametrize("env", [dict.fromkeys([name], "1") for name in UNKNOWN] + [KUBERNETES])
def test_an_unknown_variable_is_a_warning(
    read: Any, env: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    assert read(env=env) == read()
    assert [record.getMessage().split()[0] for record in caplog.records] == list(env)


def test_variables_name_settings_of_every_table(read: Any) -> None:
    env = {
        "TINYAST_DECISION__THRESHOLDS__DOG": "0.9",
        "TINYAST_EVENTS__LABELS__DOG__END_AFTER": "3",
        "TINYAST_FOLDER": '[{path = "/a"}]',
    }
    settings = read(env=env)
    assert settings.decision.thresholds == {"dog": 0.9}
    assert settings.events.labels["dog"].end_after == 3
    assert [folder.path for folder in settings.folder] == ["/a"]


@pytest.mark.parametrize(
    "toml",
    [
        '[[folder]]\npath = "a\\u0000b"\n',
        'state = "a\\u0000"\n',
        "x = " + "[" * 20_000 + "]" * 20_000,
        ".".join(["a"] * 3_000) + " = 1",
        "workers = " + "9" * 5_000,
        '[[folder]]\npath = "/tmp"\ntime_pattern = "' + "(" * 3_000 + ")" * 3_000 + '"',
    ],
    ids=["nul", "nul in state", "deep", "dotted", "huge", "deep pattern"],
)
def test_text_that_breaks_a_reader_is_refused(read: Any, toml: str) -> None:
    refused(read, toml=toml)


def test_a_variable_that_a_table_cannot_hold_is_named(read: Any) -> None:
    env = {"TINYAST_DECISION": "5", "TINYAST_DECISION__THRESHOLD": "0.5"}
    refused(read, "TINYAST_DECISION__THRESHOLD", env=env)


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ("workers = 'many'", ["`workers` is a whole number such as 1, not text"]),
        ("workers = -1", ["`workers`", "at least 0"]),
        ("workers = 1.5", ["`workers` is a whole number", "not a fraction"]),
        ("top = 0", ["`top`", "at least 1"]),
        ("insecure = 'yes'", ["`insecure` is true or false, without quotes, not text"]),
        ("engine = 'tensorflow'", ["`engine`", "auto, onnx, int8, torch"]),
        ("decision = 5", ["`decision` is a table: write [decision]"]),
        ("[decision]\nthreshold = 1.5", ["`decision.threshold`", "at most 1"]),
        ("[decision]\nallow = 'dog'", ["`decision.allow` is a list in brackets"]),
        ("[decision.thresholds]\ndog = -1", ["`decision.thresholds", "at least 0"]),
        ("[audio]\nhop = 0", ["`audio.hop`", "at least 0.05"]),
        ("[audio]\nhop = 1e308", ["`audio.hop`", "at most 86400"]),
        ("[audio]\nhop = nan", ["`audio.hop`", "finite"]),
        ("[audio]\nmax_duration = inf", ["`audio.max_duration`", "finite"]),
        ("[[folder]]\npath = 'a'\nsettle = nan", ["`folder[0].settle`", "finite"]),
        ("[[folder]]\npath = 'a'\nsettle = 0", ["`folder[0].settle`", "above 0"]),
        ("[[folder]]\npath = 'a'\nwatch = 'always'", ["`folder[0].watch`", "auto, events, poll"]),
        ("[[folder]]\npath = 'a'\nafter = 'burn'", ["`folder[0].after`", "keep, move, delete"]),
        ("[[folder]]\npath = 'a'\nformats = ['wave']", ["`folder[0].formats[0]`", "wav, flac"]),
        ("[[folder]]\nname = 'a'", ["`folder[0]`", "`path`"]),
        ("[[folder]]\npath = 'a'\ntime_pattern = '('", ["`time_pattern`", "`a`"]),
        ("[[microphone]]\nhop = 0", ["`microphone[0].hop`", "at least 0.1"]),
        ("[[microphone]]\nkeep = 'some'", ["`microphone[0].keep`", "none, accepted, all"]),
        ("[events]\nconfirm_count = 4", ["`events`", "confirm_of"]),
        ("[events.labels.dog]\nconfirm_of = 1", ["`events.labels.dog`", "confirm_count"]),
        ("[events.labels.dog]\nconfirm_at = 2", ["`events.labels", "at most 1"]),
        ("[journal]\nkeep_mb = 0", ["`journal.keep_mb`", "at least 1"]),
        ("[log]\nlevel = 'loud'", ["`log.level`", "debug, info, warning, error"]),
        ("[decision]\nthreshold = 'high'", ["`decision.threshold` is a number such as 0.75"]),
        ("[decision.thresholds]\ndog = 'high'", ["`decision.thresholds", "a number such as 0.75"]),
        ("node = 7", ['`node` is text in quotes, such as "garden", not a number']),
        ("[folder]\npath = 'a'", ["write [[folder]], with two brackets"]),
        ("[microphone]\ndevice = 'a'", ["write [[microphone]], with two brackets"]),
        ("[[decision]]\nthreshold = 1", ["write [decision], with one bracket"]),
        ("folder = []", ["[[folder]]"]),
        ("publish = ", ["not TOML"]),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_would(
    read: Any, toml: str, parts: list[str]
) -> None:
    refused(read, *parts, toml=toml)


def test_a_tilde_is_the_home_of_the_user(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    top = "state = '~/state'\nkeys = '~/keys'\ncheckpoint = '~/mine'\n"
    settings = read(f"{top}[[folder]]\npath = '~/sounds'")
    assert (settings.folder[0].path, settings.folder[0].name) == (f"{tmp_path}/sounds", "sounds")
    assert settings.state == f"{tmp_path}/state"
    assert settings.keys_path == tmp_path / "keys"
    assert settings.checkpoint_path == tmp_path / "mine"


def test_a_user_without_a_home_needs_to_name_the_state_directory(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)  # the system does not know it
    for place in ("XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(place, raising=False)
    settings = read()  # which a command that keeps no state can use
    with pytest.raises(SettingsError, match="--state"):
        _ = settings.state_path
    assert read('state = "/srv/state"').state_path == Path("/srv/state")
    for text in ("[[folder]]\npath = '~/in'", "keys = '~/keys'", "checkpoint = '~'"):
        with pytest.raises(SettingsError, match="no home; set HOME, or write an absolute path"):
            read(text)
    with pytest.raises(SettingsError, match="--state"):
        _ = read("state = '~/state'").state_path


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SettingsError, match=re.escape(str(path))):
            load(path, {})
    binary = tmp_path / "a.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"not UTF-8 text.*save them as UTF-8"):
        load(binary, {})


def test_a_pipe_is_read_from_the_shell_alone(tmp_path: Path) -> None:
    """A named one may have no writer."""
    pipe, link = tmp_path / "pipe.toml", tmp_path / "link.toml"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        done = tinyastd("status", "--config", path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"settings {path} are a pipe, not a regular file" in done.stderr
    command = [sys.executable, "-m", "daemon", "status", "--config", "/dev/stdin"]
    said = subprocess.run(command, input="x = 1", capture_output=True, text=True, cwd=ROOT)
    assert "/dev/stdin: unknown setting `x`" in said.stderr


@pytest.mark.parametrize("key", ["a.", '"a" . ', "[a.", "a = {b."])
def test_a_key_of_endless_parts_is_refused(tmp_path: Path, key: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(key + "a." * 100_000 + "a = 1")
    with pytest.raises(SettingsError, match="have a key of over 100 parts"):
        load(file, {})
    file.write_text(f'node = "{"a" * 900_000}"\nkeys = "{"a " * 20_000}"\n')
    assert len(load(file, {}).node) == 900_000


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # of Apprise
def test_a_file_from_an_editor_on_windows_is_read(tmp_path: Path) -> None:
    """Such editors begin a file with a byte order mark, and end lines in two characters."""
    mark = b"\xef\xbb\xbf"
    file, password, url = tmp_path / "a.toml", tmp_path / "password", tmp_path / "url"
    file.write_bytes(mark + b'node = "shed"\r\n[decision]\r\nthreshold = 0.5\r\n')
    settings = load(file, {})
    assert (settings.node, settings.decision.threshold) == ("shed", 0.5)
    password.write_bytes(mark + b"long secret\r\n")
    url.write_bytes(mark + b"rtsp://camera.example/audio\r\n")
    for each in (password, url):
        each.chmod(0o600)
    assert read_password(str(password)) == "long secret"
    assert broker.read_password(Mqtt(password_file=str(password))) == "long secret"
    stream = with_url(Stream(name="yard", url_file=str(url)))
    assert stream.url == "rtsp://camera.example/audio"
    url.write_bytes(mark + b"json://127.0.0.1/hook\r\n")
    [service] = services(Notify(urls_file=str(url)), "0")
    assert service.address == ("127.0.0.1", 80)


# -- folders -------------------------------------------------------------------------------------


def folders(*given: str) -> str:
    return "\n".join(f"[[folder]]\n{one}" for one in given)


@pytest.mark.parametrize(
    "toml",
    [
        folders("path='/a'\nname='x'", "path='/a'\nname='y'"),
        folders("path='/a'\nname='x'", "path='/b/../a'\nname='y'"),
        folders("path='/a'\nrecursive=true", "path='/a/b'"),
        folders("path='/a/b/c'", "path='/a'\nrecursive=true"),
    ],
)
def test_folders_that_share_files_are_refused(read: Any, toml: str) -> None:
    refused(read, "classified twice", toml=toml)


def test_a_folder_into_which_another_moves_its_files_is_refused(read: Any, tmp_path: Path) -> None:
    toml = f'[[folder]]\npath = "{tmp_path}"\nname = "a"\nafter = "%s"\n'
    toml += f'[[folder]]\npath = "{tmp_path}/failed/day"\nname = "b"\n'
    refused(read, "`b`", "`a` moves its files", toml=toml % "move")
    assert len(read(toml % "delete").folder) == 2


@pytest.mark.parametrize(
    "toml",
    [
        folders("path='/a'", "path='/a/b'"),  # not recursive: they share no file
        folders("path='/a'\nrecursive=true", "path='/ab'"),
    ],
)
def test_folders_that_share_no_files_are_accepted(read: Any, toml: str) -> None:
    assert len(read(toml).folder) == 2


def test_two_folders_of_one_name_are_refused(read: Any) -> None:
    refused(read, "two folders are named `in`", toml=folders("path='/a/in'", "path='/b/in'"))


def test_two_microphones_of_one_name_are_refused(read: Any) -> None:
    refused(read, "two microphones are named `mic`", toml="[[microphone]]\n[[microphone]]")


STREAM = "[[stream]]\nurl = "
SECRET = "geheim"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("''", "is empty"),
        (f"'ftp://me:{SECRET}@host/x'", "must begin with one of rtsp://"),
        (f"'{SECRET}'", "must begin with one of rtsp://"),
        (f"'rtsp://me:{SECRET}@/x'", "names no host"),
        (f"'rtsp://me:{SECRET} word@host/x'", "holds a space"),
        (f"'http://me:{SECRET}@host:port/x'", "is not a URL"),
        ("'tcp://host'\nrate = 8000", "names no port"),
        (f"'tcp://me:{SECRET}@host:7000'\nrate = 8000", "holds a user or password"),
        ("'tcp://host:7000'", "give their `rate`"),
        ("'udp://:7000'\nrate = 8000\nchannel = 2", "there is no channel 2"),
        (f"'http://{SECRET}@host/x'\nrate = 8000", "leave out `rate`"),
        ("'http://host/x'\nname = 'a'\n[[microphone]]\nname = 'a'", "are named `a`"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(read: Any, table: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(STREAM + table)
    assert problem in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_stream_alone_is_something_to_listen_to(read: Any) -> None:
    settings = read(f"folder = []\n{STREAM}'https://me:{SECRET}@host:8000/a.m3u8?b=c'")
    (stream,) = settings.live
    assert (stream.name, stream.device) == ("stream", "https://host:8000/…")
    assert settings.heeds_speech
    assert compare(settings, read("folder = []\n[[microphone]]")).restart == (
        "microphone",
        "stream",
    )


def test_the_url_of_a_stream_in_a_file(read: Any, tmp_path: Path) -> None:
    file = tmp_path / "url"
    table = f"folder = []\n[[stream]]\nurl_file = '{file}'\n"
    for content, mode, problem in (
        (None, 0, "cannot read `url_file`"),
        ("\n", 0o600, "must hold the URL in its first line"),
        (f"ftp://me:{SECRET}@host/x\n", 0o600, "must begin with one of rtsp://"),
        (f"rtsp://me:{SECRET}@host/x\n", 0o640, f"chmod 600 {file}"),
    ):
        if content is not None:
            file.write_text(content)
            file.chmod(mode)
        with pytest.raises(SettingsError) as caught:
            read(table)
        assert problem in str(caught.value)
        assert SECRET not in str(caught.value)
    file.chmod(0o600)
    (stream,) = read(table).stream
    assert stream.url == f"rtsp://me:{SECRET}@host/x"
    with pytest.raises(SettingsError, match="both `url` and `url_file`"):
        read(table + "url = 'rtsp://host/x'")


def test_words_of_ffmpeg_lose_their_secrets() -> None:
    url = f"rtsp://me%20too:{SECRET}%21@host/stream1?key=w0rd"
    words = f"Impossible to open '{url}': http://x:y@else/z?k=1 said me too, {SECRET}!, key=w0rd"
    assert scrubbed(words, url) == (
        "Impossible to open 'rtsp://host/…': http://else/… said …, …, …"
    )


def test_a_microphone_alone_is_something_to_listen_to(read: Any) -> None:
    settings = read("folder = []\n[[microphone]]\ndevice = 'x'")
    assert settings.folder == ()
    assert settings.microphone[0].name == "mic"


def test_rules_for_events_hold_for_all_labels_but_those_with_their_own(read: Any) -> None:
    events = read("[events]\nconfirm_count = 3\n[events.labels.dog]\nconfirm_of = 7").events
    assert (events.of("cat").confirm_count, events.of("cat").confirm_of) == (3, 3)
    assert (events.of("dog").confirm_count, events.of("dog").confirm_of) == (3, 7)
    assert events.longest == 7


def test_suffixes_follow_the_formats_unless_given(read: Any) -> None:
    first, second = read(
        folders("path='/a'\nformats=['wav','flac']", "path='/b'\nsuffixes=['.WAV']")
    ).folder
    assert first.looks_at() == (".wav", ".flac")
    assert second.looks_at() == (".wav",)


# -- endpoints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    ["", "5755", "127.0.0.1:5755", "tcp://", "tcp://5755", "tcp://127.0.0.1", "tcp://a:b", "ipc://",
     "udp://127.0.0.1:5755", "inproc://x"],
)  # fmt: skip
def test_an_endpoint_that_cannot_be_one_is_refused(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="an endpoint looks like"):
        check_endpoint("publish", endpoint, open_to_all=True)


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://0.0.0.0:5755", "tcp://*:5755", "tcp://192.168.1.2:5755", "tcp://[::]:5755",
     "tcp://eth0:5755"],
)  # fmt: skip
def test_an_endpoint_that_others_can_reach_is_refused_unless_it_is_wanted(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="insecure"):
        check_endpoint("publish", endpoint, open_to_all=False)
    check_endpoint("publish", endpoint, open_to_all=True)


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://127.0.0.1:5755", "tcp://127.8.8.8:*", "tcp://localhost:1", "tcp://[::1]:5755",
     "ipc:///run/x"],
)  # fmt: skip
def test_an_endpoint_of_this_machine_is_accepted(endpoint: str) -> None:
    check_endpoint("publish", endpoint, open_to_all=False)


def test_nothing_is_bound_where_one_endpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="`replay`"):
        bind(f"ipc://{tmp_path}/p", "tcp://0.0.0.0:0", insecure=False).__enter__()
    assert not list(tmp_path.iterdir())
