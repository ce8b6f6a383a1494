"""Each way of installing, on a clean root: a dropped WAV is labelled, and the page answers."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import run
from conftest import ROOT
from running import free_port
from sounds import write_wav

SOON_S = 600.0  # for installing and starting on a busy machine
PACKAGING = ROOT / "config" / "packaging"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("dist")
    run(PACKAGING / "dist.sh", output, sys.executable)
    (made,) = output.glob("*.whl")
    return made


def wait_for(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < deadline, f"not {what}"
        time.sleep(0.2)


@contextmanager
def running(*command: object, **environment: str) -> Iterator[None]:
    """A program that runs meanwhile and says nothing of an error."""
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(
            list(map(str, command)), env={**os.environ, **environment}, stderr=said
        ) as process:
            try:
                yield
                assert process.poll() is None
            finally:
                process.terminate()
                process.wait(60)
        said.seek(0)
        log = said.read()
    assert not re.search('"level": "error"|Traceback', log), log


def labels(listen: list[object]) -> list[str]:
    """The labels that a daemon has given, as its `listen` prints them."""
    command = ["timeout", "300", *map(str, listen), "--since", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                message = json.loads(line)
                if message.get("type") == "prediction":
                    return [message["label"]]
        finally:
            process.kill()
    return []


def check_installed(tinyastd: Path, base: Path) -> None:
    """Start this installation with its page, drop a WAV, ask for label and page."""
    watched, port = base / "in", free_port()
    watched.mkdir()
    config = base / "tinyast.toml"
    config.write_text(
        f'state = "{base}/state"\npublish = "ipc://{base}/p"\nreplay = "ipc://{base}/r"\n'
        f'[[folder]]\npath = "{watched}"\n[page]\nport = {port}\n'
    )
    with running(tinyastd, "run", "--config", config):
        write_wav(watched / "a.wav")
        listen: list[object] = [tinyastd, "listen"]
        listen += ["--publish", f"ipc://{base}/p", "--replay", f"ipc://{base}/r"]
        assert labels(listen)
        wait_for(lambda: answers(port), "the page answers")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
            return bool(page.status == 200 and b"<html" in page.read())
    except OSError:
        return False


def test_pip(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "env")
    run(tmp_path / "env/bin/pip", "install", "--quiet", wheel)
    check_installed(tmp_path / "env/bin/tinyastd", tmp_path)


def test_the_oldest_versions_that_are_allowed(wheel: Path, tmp_path: Path) -> None:
    """They give the scores of the newest ones too, in float32."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = tmp_path / "oldest.txt"
    bounds = [re.fullmatch(r"([\w-]+)>=([\w.]+)(,<.*)?", each) for each in project["dependencies"]]
    oldest.write_text("".join(f"{each[1]}=={each[2]}\n" for each in bounds if each is not None))
    assert len(bounds) == len(oldest.read_text().splitlines())
    run(sys.executable, "-m", "venv", tmp_path / "env")
    python = tmp_path / "env/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "-r", oldest, wheel)
    check_installed(tmp_path / "env/bin/tinyastd", tmp_path)
    # The schema of the messages needs more of msgspec than reading them does.
    run(python, "-c", "from daemon.protocol.schema import make; make()")
    run(python, "-W", "error", "-c", "import typer, starlette, uvicorn, watchdog")
    words = ["-m", "daemon", "classify", "--engine", "onnx", "--format", "csv", tmp_path / "in"]
    (new,), (old,) = ([*csv.DictReader(run(each, *words).splitlines())]
                      for each in (sys.executable, python))  # fmt: skip
    assert (old["label"], old["start_s"]) == (new["label"], new["start_s"])
    assert float(old["score"]) == pytest.approx(float(new["score"]), abs=1e-5)


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_newer_pythons(wheel: Path, tmp_path: Path, version: str) -> None:
    python = f"python{version}"
    try:
        run(python, "-m", "venv", tmp_path / "env")
    except (OSError, AssertionError):
        pytest.skip(f"{python} with venv is not on PATH")
    run(tmp_path / "env/bin/pip", "install", "--quiet", wheel)
    check_installed(tmp_path / "env/bin/tinyastd", tmp_path)


@pytest.mark.parametrize("tool", ["pipx", "uv"])
def test_tools(wheel: Path, tmp_path: Path, tool: str) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "tool")
    run(tmp_path / "tool/bin/pip", "install", "--quiet", tool)
    homes = {
        "PIPX_HOME": f"{tmp_path}/home", "PIPX_BIN_DIR": f"{tmp_path}/bin",
        "PIPX_MAN_DIR": f"{tmp_path}/man", "UV_TOOL_DIR": f"{tmp_path}/home",
        "UV_TOOL_BIN_DIR": f"{tmp_path}/bin", "UV_SYSTEM_CERTS": "1",
    }  # fmt: skip
    words = ["install"] if tool == "pipx" else ["tool", "install", "--python", sys.executable]
    run(tmp_path / "tool/bin" / tool, *words, wheel, **homes)
    check_installed(tmp_path / "bin/tinyastd", tmp_path)


@pytest.mark.parametrize("name", ["Containerfile", "home-assistant/Dockerfile"])
def test_hadolint_finds_nothing_wrong(name: str) -> None:
    hadolint = ROOT / "build" / "tools" / "bin" / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint comes with `make lock`, `make audit` or `make release`")
    assert run(hadolint, PACKAGING / name) == ""


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A minimal Debian 12; the host's one at /dev and /proc."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("a clean Debian needs root and debootstrap")
    root = tmp_path_factory.mktemp("debian")
    root.chmod(0o755)  # for the service's user
    run("debootstrap", "--variant=minbase", "--include=python3,adduser", "bookworm", root)
    mounts = [("proc", "-t", "proc", "proc"), ("dev", "--bind", "/dev")]
    for place, *what in mounts:
        run("mount", *what, root / place)
    yield root
    for place, *_ in mounts:
        run("umount", "--lazy", root / place)


def check_spool(debian: Path) -> None:
    """The service is enabled, and its group may drop files."""
    wanted = debian / "etc/systemd/system/multi-user.target.wants/tinyastd.service"
    assert wanted.is_symlink()
    seen = run("chroot", debian, "stat", "-c", "%U:%G:%a", "/var/spool/tinyast")
    assert seen == "root:tinyast:2775\n"


def test_debian(wheel: Path, debian: Path, tmp_path: Path) -> None:
    """Install, hear a file, remove, install again, purge."""
    run(PACKAGING / "deb.sh", wheel, tmp_path)
    (package,) = tmp_path.glob("*.deb")
    shutil.copy(package, debian / "tinyast.deb")
    inside = ["chroot", debian]
    run(*inside, "useradd", "--system", "--no-user-group", "tinyast")  # without its group
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "./tinyast.deb"]
    run(*inside, *install, DEBIAN_FRONTEND="noninteractive")
    unit = (debian / "lib/systemd/system/tinyastd.service").read_text()
    (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert "User=tinyast" in unit
    check_spool(debian)
    state = debian / "var/lib/tinyast"
    for folder, mode in ((state, 0o700), (debian / "run/tinyast", 0o700)):  # as systemd does
        folder.mkdir(mode=mode)
        run(*inside, "chown", "tinyast:tinyast", f"/{folder.relative_to(debian)}")
    places = {
        "TINYAST_PUBLISH": "ipc:///run/tinyast/publish", "TINYAST_REPLAY": "ipc:///run/tinyast/replay",
        "STATE_DIRECTORY": "/var/lib/tinyast", "HOME": "/",
    }  # fmt: skip
    service = ["chroot", "--userspec=tinyast:tinyast", debian]
    with running(*service, *start.removeprefix("ExecStart=").split(), **places):
        write_wav(debian / "var/spool/tinyast/a.wav")
        (debian / "var/spool/tinyast/a.wav").chmod(0o644)
        listen: list[object] = [*inside, "tinyastd", "listen"]
        listen += ["--publish", places["TINYAST_PUBLISH"], "--replay", places["TINYAST_REPLAY"]]
        assert labels(listen)
        port = free_port()
        page = ["tinyastd", "page", "--connect", ",".join(list(places.values())[:2])]
        page += ["--store", "/tmp/page", "--port", str(port)]
        with running(*inside, *page):
            wait_for(lambda: answers(port), "the page answers")
    run(*inside, "apt-get", "remove", "--yes", "--quiet", "tinyast")
    assert not (debian / "opt/tinyast/bin/tinyastd").exists()
    assert (state / "journal.sqlite3").exists()
    assert (debian / "etc/tinyast/tinyast.toml").exists()
    # The same installation again, unless another one is in its place.
    other = debian / "opt/tinyast/pyvenv.cfg"
    other.parent.mkdir(parents=True)
    other.touch()
    refused = subprocess.run([*map(str, inside), "dpkg", "--install", "tinyast.deb"], text=True,
                             capture_output=True)  # fmt: skip
    assert "another installation" in refused.stderr
    shutil.rmtree(other.parent)
    shutil.move(debian / "var/spool/tinyast/a.wav", debian / "a.wav")
    (debian / "var/spool/tinyast").rmdir()
    run(*inside, *install, DEBIAN_FRONTEND="noninteractive")
    assert (state / "journal.sqlite3").exists()
    check_spool(debian)
    shutil.move(debian / "a.wav", debian / "var/spool/tinyast/a.wav")
    run(*inside, "apt-get", "purge", "--yes", "--quiet", "tinyast")
    assert not state.exists()
    assert not (debian / "etc/tinyast").exists()
    assert (debian / "var/spool/tinyast/a.wav").exists()
    assert "tinyast" not in (debian / "etc/passwd").read_text()
