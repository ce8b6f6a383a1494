"""`status` and `listen` find the daemon of a service without options."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import ROOT
from msgspec.structs import replace
from running import tinyastd

from daemon.commands import nearby
from daemon.errors import DaemonError
from daemon.settings.schema import Settings


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Path]:
    """The folder of a service's sockets."""
    place = tmp_path / "tinyast"
    place.mkdir()
    with closing(socket.socket(socket.AF_UNIX)) as replay:
        replay.bind(str(place / "replay"))
        yield place


@pytest.fixture(autouse=True)
def silent_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs on this machine, the default port does not answer."""
    monkeypatch.setattr(nearby, "_answers", lambda port: False)


def test_the_sockets_of_a_service_are_found(service: Path, tmp_path: Path) -> None:
    found = nearby.with_endpoints(Settings(), [tmp_path / "none", service])
    assert (found.publish, found.replay) == (f"ipc://{service}/publish", f"ipc://{service}/replay")


def test_endpoints_that_are_named_are_kept(service: Path) -> None:
    named = replace(Settings(), replay="ipc:///elsewhere")
    assert nearby.with_endpoints(named, [service]) is named


def test_without_a_service_nothing_changes(tmp_path: Path) -> None:
    assert nearby.with_endpoints(Settings(), [tmp_path]) == Settings()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_sockets_that_this_user_may_not_use(service: Path) -> None:
    service.chmod(0o700)
    named = replace(
        Settings(), publish=f"ipc://{service}/publish", replay=f"ipc://{service}/replay"
    )
    os.seteuid(65_534)
    try:
        for settings in (Settings(), named):
            with pytest.raises(DaemonError, match=r"permission denied: .* try again with sudo"):
                nearby.with_endpoints(settings, [service])
    finally:
        os.seteuid(0)


def test_status_asks_there(service: Path) -> None:
    with closing(socket.socket()) as probe:
        if probe.connect_ex(("127.0.0.1", 5756)) == 0:
            pytest.skip("another daemon has the default port")
    done = tinyastd("status", env={"XDG_RUNTIME_DIR": str(service.parent)})
    assert done.returncode == 1
    assert f"no daemon answers at ipc://{service}/replay" in done.stderr


WEAK = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")  # root that obeys modes


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and util-linux"
)
def test_each_subscriber_is_refused_in_the_same_words(service: Path, tmp_path: Path) -> None:
    service.chmod(0o700)
    os.chown(service, 65_534, 65_534)
    ends = ["--publish", f"ipc://{service}/publish", "--replay", f"ipc://{service}/replay"]
    commands = [
        ["page", "--store", str(tmp_path), *ends],
        ["page", "--store", str(tmp_path), "--connect", ",".join(ends[1::2])],
        ["notify", "--url", "json://127.0.0.1:9", *ends],
        ["mqtt", *ends],
        ["status", *ends],
        ["listen", *ends],
        ["reprocess", str(tmp_path), *ends],
    ]
    running = [
        subprocess.Popen(
            [*WEAK, sys.executable, "-m", "daemon", *command],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for command in commands
    ]  # fmt: skip
    for command, process in zip(commands, running, strict=True):
        _, said = process.communicate(timeout=100)
        assert process.returncode == 1, (command, said)
        assert said.startswith("tinyastd: permission denied: a daemon's sockets are in"), command
