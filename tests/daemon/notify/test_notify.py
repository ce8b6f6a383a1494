"""Notifications that reach real servers, over HTTP and by mail: which, how many, and when."""

from __future__ import annotations

import base64
import email
import email.message
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.controller import Controller
from brokers import table, until
from msgspec import UNSET
from processes import CommandProcess
from running import ROOT, Daemon, free_port, tinyastd
from saying import Station, predictions
from sounds import write_wav

from daemon.errors import SettingsError
from daemon.host.keeping import Keeping
from daemon.notify import outbox
from daemon.notify.cooldown import Cooldowns
from daemon.notify.rules import Rule, published
from daemon.notify.service import Service, services
from daemon.protocol.messages import Event, Message, Source, digest, file_source
from daemon.settings.loading import load
from daemon.settings.subscribers import Notify

PORCH, HALL = Source("mic", "porch"), Source("mic", "hall")


class Inbox:
    """A web server that takes what Apprise sends as JSON, on a port that it keeps."""

    def __init__(self) -> None:
        self.port = free_port()
        self.got: list[dict[str, Any]] = []
        self._server: ThreadingHTTPServer | None = None

    def open(self) -> Inbox:
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()
        return self

    def shut(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        return f"json://tom:s3cret@127.0.0.1:{self.port}/ears"

    @property
    def titles(self) -> list[str]:
        return [each["title"] for each in self.got]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox().open()
    yield made
    made.shut()


class Notifying(CommandProcess):
    """`tinyastd notify` beside a station, with the rules of a test."""

    def __init__(self, base: Path, station: Station, *rules: dict[str, Any]) -> None:
        config = base / "notify.toml"
        lines = [f'publish = "{station.publish}"', f'replay = "{station.replay}"']
        lines += [f'state = "{base}/notify"']
        lines += [table("notify", rule).replace("[notify]", "[[notify]]") for rule in rules]
        config.write_text("\n".join(lines))
        super().__init__(base / "notify.log", "notify", "--config", str(config))

    def start(self) -> Notifying:
        self.spawn()
        self.wait_for(lambda: "notifying by" in self.text, "started")
        return self


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with Station(tmp_path) as made:
        yield made


@pytest.fixture
def notifying(station: Station, tmp_path: Path) -> Iterator[Callable[..., Notifying]]:
    made: list[Notifying] = []

    def make(*rules: dict[str, Any]) -> Notifying:
        made.append(Notifying(tmp_path, station, *rules).start())
        until(lambda: "the first start" in made[-1].text, "begun")
        return made[-1]

    yield make
    for each in made:
        each.clean_up()


def heard(
    label: str, number: int, source: Source = PORCH, state: str = "start", score: float = 0.9,
    at: datetime | None = None,
) -> Event:  # fmt: skip
    began = (at or datetime.now(UTC)).isoformat(timespec="milliseconds")[:-6] + "Z"
    return Event(
        id=digest(label, number, state), source=source, state=state, label=label, windows=1,
        event_id=f"{number:08}-0000-4000-8000-{0:012}", started_at=began, heard_until=began,
        duration_s=5.0, peak_score=score, reason="quiet" if state == "end" else None,
    )  # fmt: skip


def announce(
    station: Station, inbox: Inbox, *messages: Message, at: datetime | None = None
) -> list[dict[str, Any]]:
    """What is notified of messages: those before one more, which surely is."""
    station.say([*messages, heard("siren", len(inbox.got) + 1_000, at=at)])
    until(lambda: "siren at porch" in inbox.titles, "notified")
    return inbox.got


def test_rules_choose_by_label_source_score_state_and_hour(
    station: Station, inbox: Inbox, notifying: Callable[..., Notifying]
) -> None:
    noon = datetime.now(UTC).replace(hour=12)
    rule = {
        "urls": [inbox.url], "labels": ["dog", "siren"], "sources": ["porch"], "min_score": 0.5,
        "on": ["start"], "cooldown": 0.0, "hours": "11:00-13:00", "time_zone": "UTC",
        "title": "{label} at {source}",
        "text": "{score:.1%} {kind} {state} {window} {message[event_id]} {time}",
    }  # fmt: skip
    notifying(rule)
    got = announce(
        station,
        inbox,
        heard("dog", 1, at=noon),
        heard("cat", 2, at=noon),
        heard("dog", 3, HALL, at=noon),
        heard("dog", 4, score=0.4, at=noon),
        heard("dog", 5, state="end", at=noon),
        heard("dog", 6, at=noon + timedelta(hours=2)),
        at=noon,
    )
    assert [each["title"] for each in got if each["title"] != "siren at porch"] == ["dog at porch"]
    (text,) = {each["message"] for each in got if each["title"].startswith("dog")}
    clock = noon.strftime("%H:%M:%S")
    assert text == f"90.0% mic start - 00000001-0000-4000-8000-000000000000 {clock}"


def test_one_notification_in_a_cooldown_and_then_a_summary(
    station: Station, inbox: Inbox, notifying: Callable[..., Notifying]
) -> None:
    running = notifying({"urls": [inbox.url], "cooldown": 6.0})  # for a busy machine
    first = [heard("dog", number, score=0.8) for number in range(4)]
    last = heard("dog", 9, HALL, score=0.95)
    announce(station, inbox, *first, last, heard("cat", 1))
    assert sorted(inbox.titles) == ["cat at porch", "dog at porch", "siren at porch"]
    running.kill()  # the count of the rest is on disk, with the notification that went before
    running.start()
    until(lambda: any("more" in title for title in inbox.titles), "summarised")
    (summary,) = [each for each in inbox.got if "more" in each["title"]]
    assert summary["title"] == "dog: 4 more"
    assert "up to 95%, at porch, hall" in summary["message"]
    assert running.stop() == 0


def test_an_outage_delays_and_a_restart_repeats_nothing(
    station: Station, inbox: Inbox, notifying: Callable[..., Notifying]
) -> None:
    inbox.shut()
    running = notifying({"urls": [inbox.url], "cooldown": 0.0})
    station.say([heard(label, 1) for label in ("dog", "cat", "rain")])
    until(lambda: "trying again" in running.text, "tried")
    running.kill()
    running.start()
    tries = running.text.count("trying again")
    until(lambda: running.text.count("trying again") > tries, "tried again")
    inbox.open()
    until(lambda: len(inbox.got) >= 3, "delivered")
    assert running.stop() == 0
    running.start()
    announce(station, inbox)
    assert inbox.titles == ["dog at porch", "cat at porch", "rain at porch", "siren at porch"]
    assert "s3cret" not in running.text


class Letters:
    """Takes mail."""

    def __init__(self) -> None:
        self.got: list[email.message.Message] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
        self.got.append(email.message_from_bytes(envelope.content))
        return "250 taken"


def test_mail_and_json_have_picture_and_sound_and_the_daemon_says_what_fails(
    inbox: Inbox, tmp_path: Path
) -> None:
    letters = Letters()
    mail = Controller(letters, hostname="127.0.0.1", port=free_port())
    mail.start()
    dead = free_port()
    to = f"mailto://127.0.0.1:{mail.port}?to=me@example.org&from=ears@example.org&mode=insecure"
    rules = [
        {"name": "all", "urls": [inbox.url, to], "on": ["prediction"], "cooldown": 0.0,
         "attach": ["picture", "sound"], "text": "{path} {message[window][end_s]}"},
        {"name": "dead", "urls": [f"json://127.0.0.1:{dead}"], "on": ["prediction"],
         "give_up": 0.5},
    ]  # fmt: skip
    (tmp_path / "in").mkdir()
    config = tmp_path / "tinyast.toml"
    text = f'[[folder]]\npath = "{tmp_path}/in"\n[decision]\nthreshold = 0.0\nunknown = false\n'
    config.write_text(
        text + "\n".join(table("notify", rule).replace("[notify]", "[[notify]]") for rule in rules)
    )
    daemon = Daemon(tmp_path, "--config", str(config)).start()
    try:
        daemon.wait_for(lambda: "notifying by 2 rules" in daemon.log.read_text(), "notifying")
        until(lambda: "the first start" in daemon.log.read_text(), "begun")
        write_wav(daemon.folder / "a.wav", seconds=2)
        until(lambda: inbox.got and letters.got, "delivered")
        (got,) = inbox.got
        assert got["message"] == f"{daemon.folder}/a.wav 2.0"
        files = {each["filename"]: base64.b64decode(each["base64"]) for each in got["attachments"]}
        assert files["picture.png"][:8] == b"\x89PNG\r\n\x1a\n"
        assert files["sound.wav"][:4] == b"RIFF"
        assert len(files["sound.wav"]) == 44 + 2 * 2 * 16_000
        mailed = {
            part.get_filename(): part.get_payload(decode=True) for part in letters.got[0].walk()
        }
        assert {name: mailed[name] for name in files} == files
        heard = daemon.hear(
            lambda r: [m for m in r if m.topic == "tinyast.v1.status.helper_trouble"]
        )
        trouble = heard[-1].message
        assert trouble["helper"] == "notify"
        assert "`dead` could not be delivered" in trouble["text"]
        assert daemon.stop() == 0
    finally:
        daemon.clean_up()
        mail.stop()


def test_sound_with_a_voice_and_sound_behind_a_link_are_not_attached(
    station: Station, inbox: Inbox, notifying: Callable[..., Notifying], tmp_path: Path
) -> None:
    notifying(
        {"urls": [inbox.url], "on": ["prediction"], "cooldown": 0.0, "attach": ["sound"],
         "text": "{path} {message[window][start_s]}"}
    )  # fmt: skip
    (tmp_path / "in").mkdir()
    write_wav(tmp_path / "in" / "a.wav", seconds=10)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (model,) = predictions(1)
    said = []
    for folder, start_s, private in [
        ("in", 0.0, UNSET), ("in", 2.5, True), ("in", 5.0, UNSET), ("in", 7.5, UNSET),
        ("link", 7.5, UNSET),
    ]:  # fmt: skip
        window = msgspec.structs.replace(model.window, start_s=start_s, end_s=start_s + 2.6)
        path = os.fsencode(tmp_path / folder / "a.wav")
        said.append(
            msgspec.structs.replace(
                model, id=digest(path, start_s), file_id=digest(folder), window=window,
                source=file_source("in", path), private=private,
            )
        )  # fmt: skip
    station.say(said)
    until(lambda: len(inbox.got) == len(said), "delivered")
    attached = {each["message"] for each in inbox.got if each["attachments"]}
    assert attached == {f"{tmp_path}/in/a.wav 0.0", f"{tmp_path}/in/a.wav 7.5"}


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
def test_a_name_is_no_picture_in_a_mail() -> None:
    letters = Letters()
    mail = Controller(letters, hostname="127.0.0.1", port=free_port())
    mail.start()
    try:
        to = f"mailto://127.0.0.1:{mail.port}?to=me@example.org&from=ears@example.org&mode=insecure"
        name = "<img src=http://example.org/x.png>.wav"
        assert Service(to, "all").send(f"{name}\nBcc: you@example.org", name) is None
    finally:
        mail.stop()
    (letter,) = letters.got
    assert letter["Bcc"] is None
    texts = [part for part in letter.walk() if part.get_content_maintype() == "text"]
    assert texts
    for part in texts:
        text = bytes(part.get_payload(decode=True)).decode()
        assert part.get_content_subtype() == "plain" or "<img" not in text


def test_the_test_message_goes_to_each_service(inbox: Inbox, tmp_path: Path) -> None:
    done = tinyastd("notify", "--test", "--url", inbox.url)
    assert done.returncode == 0, done.stderr
    assert inbox.titles == ["tinyast: test"]
    assert "s3cret" not in done.stdout + done.stderr
    inbox.shut()
    urls = tmp_path / "urls"
    urls.write_text(f"# a phone\n{inbox.url}\n")
    urls.chmod(0o600)
    config = tmp_path / "notify.toml"
    config.write_text(f'[[notify]]\nurls_file = "{urls}"\n')
    done = tinyastd("notify", "--test", "--config", config)
    assert done.returncode == 1
    assert "failed json://tom" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
def test_a_long_title_and_text_are_cut_to_what_the_service_takes(inbox: Inbox) -> None:
    topic = f"ntfy://127.0.0.1:{inbox.port}/ears"
    for url in (inbox.url, topic, f"{inbox.url}?overflow=upstream"):
        assert Service(url, "all").send("t" * 5_000, "m" * 50_000) is None
    cut, at_ntfy, whole = ((len(each["title"]), len(each["message"])) for each in inbox.got)
    assert cut == (250, 32_768 - 252)
    assert at_ntfy == (200, 7_800 - 202)
    assert whole == (5_000, 50_000)


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
def test_a_failure_has_the_reason_that_the_service_gives() -> None:
    why = Service(f"json://127.0.0.1:{free_port()}", "all").send("a", "b")
    assert why == "A Connection error occurred sending JSON notification to 127.0.0.1."


# A plugin of Apprise imports it when all of them are asked for a URL.
@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("", "neither `urls` nor a `urls_file`"),
        ('urls = ["nosuch://secret"]', "'nosuch'"),
        ('urls_file = "/nowhere"', "`urls_file` /nowhere"),
        ('urls = ["json://a"]\ntext = "{score:.0}%{"', "the text"),
        ('urls = ["json://a"]\ntext = "{label.nothing}"', "the text"),
        ('urls = ["json://a"]\nhours = "25:00-26:00"', "`hours`"),
        ('urls = ["json://a"]\nhours = "night"', "hours"),
        ('urls = ["json://a"]\ntime_zone = "Mars"', "`time_zone`"),
        ('urls = ["json://a"]\non = ["begin"]', "start, update, end, prediction"),
        ('urls = ["json://a"]\nlable = ["dog"]', "did you mean `labels`?"),
    ],
)
def test_errors_say_what_to_change(rule: str, words: str, tmp_path: Path) -> None:
    config = tmp_path / "notify.toml"
    config.write_text(f"[[notify]]\n{rule}\n")

    def read() -> None:
        (given,) = load(config, environ={}).notify
        services(given, Rule(given, 1).name)

    with pytest.raises(SettingsError, match=re.escape(words)) as raised:
        read()
    assert "secret" not in str(raised.value)


def test_without_its_package_the_command_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "apprise.py").write_text("raise ImportError('none')")
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = tinyastd("notify", "--url", "json://a", "--state", tmp_path, env=path)
    assert done.returncode == 2
    assert "pip install 'tinyast[notify]'" in done.stderr


def test_a_label_is_let_through_once_in_its_cooldown() -> None:
    rule = Rule(Notify(urls=("json://a",), cooldown=10.0), 1)
    message = msgspec.structs.replace(heard("dog", 1), published_at="2026-01-01T00:00:00.000Z")
    assert published(message) == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    found = rule.find(message)
    assert found is not None
    cooldowns = Cooldowns()
    lets = [cooldowns.lets(found, now, 10.0) for now in (0.0, 1.0, 9.0)]
    assert lets == [True, False, False]
    assert not cooldowns.due(9.9, 10.0)
    ((label, summary),) = cooldowns.due(10.0, 10.0)
    assert (label, summary.count) == ("dog", 2)
    assert not cooldowns.due(20.0, 10.0)
    assert cooldowns.lets(found, 20.0, 10.0)


def test_a_clock_that_is_set_back_silences_no_label() -> None:
    found = Rule(Notify(urls=("json://a",)), 1).find(heard("dog", 1))
    assert found is not None
    cooldowns = Cooldowns()
    assert cooldowns.lets(found, 1e9, 10.0)  # notified while the clock was far ahead
    assert not cooldowns.due(0.0, 10.0)
    assert not cooldowns.due(10.0, 10.0)
    assert cooldowns.lets(found, 10.0, 10.0)


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
@pytest.mark.parametrize("step", [86_400.0, -86_400.0])
def test_a_clock_that_is_set_gives_up_no_note(
    step: float,
    inbox: Inbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As at a machine that starts with an old time, and has the network and the time later."""
    said: list[str] = []
    kept = Keeping(tmp_path / "notify.db")
    inbox.shut()
    box = outbox.Outbox({"rule": [Service(inbox.url, "rule")]}, kept, said.append)
    box.add("rule", "dog", "heard", time.time() + 3_600, {})

    def tried() -> bool:
        box.work(time.time())
        box.keep({})
        return "trying again" in caplog.text

    until(tried, "tried")
    unset = time.time
    monkeypatch.setattr(time, "time", lambda: unset() + step)
    inbox.open()
    until(lambda: tried() and (inbox.got or said), "delivered")
    box.close()
    kept.close()
    assert (inbox.titles, said) == (["dog"], [])


class Odd(BaseHTTPRequestHandler):
    """Answers byte by byte, or with more than any memory holds."""

    closing = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        slow = self.path == "/slow"
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        with suppress(OSError):
            while not self.closing.wait(0.05 if slow else 0):
                self.wfile.write(b"x" if slow else bytes(1 << 16))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def odd() -> Iterator[str]:
    """The address of a server whose answers have no end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Odd.closing.clear()
    yield f"127.0.0.1:{server.server_port}"
    Odd.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
def test_an_answer_without_end_holds_up_no_other_service_and_no_stop(
    odd: str, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "HANGS_S", 0.3)
    monkeypatch.setattr(outbox, "CLOSE_S", 0.1)
    urls = {"long": f"json://{odd}/long", "slow": f"json://{odd}/slow", "well": inbox.url}
    said: list[str] = []
    kept = Keeping(tmp_path / "notify.db")
    box = outbox.Outbox({n: [Service(url, n)] for n, url in urls.items()}, kept, said.append)
    for number in range(outbox.MOST_NOTES + 5):
        for rule in urls:
            box.add(rule, f"{number}", "a sound", time.time() + 600, {})
    box.keep({})
    deadline = time.monotonic() + 60
    while len(inbox.got) < 10 or len(said) < 2:
        box.work(time.time())
        assert time.monotonic() < deadline
    box.close()
    kept.close()
    assert {"long", "slow"} <= {text.split("`")[1] for text in said}


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
def test_an_answer_is_read_up_to_a_limit(odd: str) -> None:
    assert Service(f"json://{odd}/long", "long").send("a", "b") is not None
