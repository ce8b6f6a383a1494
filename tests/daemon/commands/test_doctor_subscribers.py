"""`doctor` asks the broker and the services that the settings name."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from brokers import Mosquitto, broker
from running import free_port, tinyastd

from daemon.commands.checks.subscribers import check_mqtt, check_notify, check_page
from daemon.settings.schema import Page, Settings
from daemon.settings.subscribers import Mqtt, Notify

__all__ = ["broker"]  # a fixture

# Apprise imports a module that later Pythons lack.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")


def asked(broker: Mosquitto, **changes: Any) -> list[tuple[str, str]]:
    """State and words of each check of [mqtt]."""
    settings = msgspec.convert({**broker.settings, **changes}, Mqtt)
    found = list(check_mqtt(settings, Settings()))
    assert all(each.fix for each in found if each.state != "ok")
    return [(each.state, each.text) for each in found]


def test_a_broker_that_accepts_the_settings(broker: Mosquitto) -> None:
    ((state, text),) = asked(broker)
    assert state == "ok", text
    assert f":{broker.port} accepts these settings" in text


def test_each_fault_of_a_broker_is_named(broker: Mosquitto, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("not the password\n")
    secret.chmod(0o644)
    (warned, refused) = asked(broker, password_file=str(secret))
    words = f"`password_file` {secret} of [mqtt] can be read by other users"
    assert warned == ("warn", words)
    assert refused[0] == "fail"
    assert "correct `user` and `password_file`" in refused[1]
    for changes, words in (
        ({"port": free_port()}, "cannot be reached"),
        ({"password_file": str(tmp_path / "none")}, "cannot read `password_file`"),
        ({"ca_file": str(tmp_path / "ca.pem"), "tls": True}, "`ca_file`"),
        ({"host": "no-such-host.invalid"}, "is not known"),
    ):
        ((state, text),) = asked(broker, **changes)
        assert (state, words in text) == ("fail", True), text


def test_each_fault_of_a_page_is_named(tmp_path: Path) -> None:
    everything = Settings(state=str(tmp_path), publish="ipc://p", replay="ipc://r")
    for page, state, words in (
        (Page(port=free_port()), "ok", "it can be served at 127.0.0.1:"),
        (Page(password_file=str(tmp_path / "none")), "fail", "cannot read `password_file`"),
        (Page(host="0.0.0.0"), "fail", "other machines can reach"),
        (Page(connect=("here",)), "fail", "PUBLISH,REPLAY"),
        (Page(tls_cert="a.pem"), "fail", "go together"),
    ):
        (found,) = check_page(page, everything)
        assert (found.state, words in found.text) == (state, True), found.text


def test_services_of_notifications(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, closed = server.getsockname()[1], free_port()
        urls = [f"json://127.0.0.1:{port}/a", f"json://127.0.0.1:{closed}/b"]
        file.write_text(f"{urls[1]}\nmailto://127.0.0.1:{port}?to=a@b.cc&from=d@e.ff\n")
        rule = Notify(urls=(urls[0],), urls_file=str(file))
        file.chmod(0o644)
        warned, *found = check_notify(rule, 1)
    assert (warned.state, warned.fix) == ("warn", f"chmod 600 {file}")
    assert [(each.name, each.state) for each in found] == [
        ("notify 1", "ok"), ("notify 1", "fail"), ("notify 1", "ok"),
    ]  # fmt: skip
    assert "Connection refused" in found[1].text
    for rule, words in (
        (Notify(urls=("nothing://x",)), "that no service knows"),
        (Notify(urls=("json://h",), text="{nothing"), "cannot be used"),
        (Notify(urls_file=str(tmp_path / "none")), "cannot read `urls_file`"),
    ):
        (check,) = check_notify(rule, 2)
        assert (check.state, words in check.text) == ("fail", True), check.text


def test_the_command_asks_them(tmp_path: Path) -> None:
    config = tmp_path / "tinyast.toml"
    port = free_port()
    config.write_text(
        f'[[folder]]\npath = "{tmp_path}"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        f'[[notify]]\nname = "phone"\nurls = ["json://127.0.0.1:{port}/"]\n'
    )
    done = tinyastd("doctor", "--config", config, "--state", tmp_path / "state")
    assert done.returncode != 0
    assert f"the broker at 127.0.0.1:{port} cannot be reached" in done.stdout
    assert "notify phone" in done.stdout


def test_labels_that_the_model_lacks_are_named(tmp_path: Path) -> None:
    config = tmp_path / "tinyast.toml"
    tables = {
        "notify": "[[notify]]\nurls = ['json://localhost']\nlabels = ['dog', 'dogg']\n",
        "mqtt": "[mqtt.home_assistant]\nlabels = ['dog', 'dogg']\n",
    }
    for command, table in tables.items():
        config.write_text(f"state = '{tmp_path}'\n{table}")
        words = "labels` names `dogg`, which the model does not know; did you mean `dog`?"
        # The daemon that a subscriber follows may run another model.
        done = tinyastd(command, "--check", "--config", config)
        assert (done.returncode, done.stderr.count(words)) == (0, 1), done.stderr
        # That of `run` would not start.
        done = tinyastd("doctor", "--watch", tmp_path, "--config", config)
        assert (done.returncode, done.stdout.count(words)) == (1, 1), done.stdout
