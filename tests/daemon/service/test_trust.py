"""What others can change is refused at the start, with the command that fixes it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Daemon, tinyastd
from sounds import write_wav

from daemon.errors import SettingsError, StartError
from daemon.host.locks import Lock
from daemon.host.trust import check_private
from daemon.protocol.keys import allowed, load_server, make_client, make_server
from tinyast.classifier import Classifier
from tinyast.errors import CheckpointError

MakeDaemon = Callable[..., Daemon]
STRANGER = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.mark.parametrize("mode", [0o777, 0o702])
def test_a_path_that_others_can_change_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "state"
    path.mkdir()
    check_private(path, "the state")
    path.chmod(mode)
    with pytest.raises(StartError, match=f"chmod go-w {path}"):
        check_private(path, "the state")
    path.chmod(0o1777)
    check_private(path, "the directory", sticky=True)
    path.chmod(0o755)
    check_private(path, "the state")


@needs_root
def test_what_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    os.chown(path, STRANGER, STRANGER)
    with pytest.raises(StartError, match="chown"):
        check_private(path, "the state")


def make_keys(folder: Path) -> Path:
    make_server(folder)
    make_client(folder, "friend")
    return folder


@pytest.mark.parametrize("name", [".", "clients", "clients/friend.key"])
def test_keys_that_others_can_change_are_refused(tmp_path: Path, name: str) -> None:
    keys = make_keys(tmp_path / "keys")
    load_server(keys)
    (keys / name).chmod(0o777)
    with pytest.raises(StartError, match="chmod go-w"):
        load_server(keys)


def test_a_fifo_among_the_keys_is_no_key_and_holds_up_no_one(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys")
    known = allowed(keys / "clients")
    os.mkfifo(keys / "clients" / "fifo.key")
    assert allowed(keys / "clients") == known
    with pytest.raises(StartError, match=r"fifo\.key is not a regular file"):
        load_server(keys)
    (keys / "clients" / "fifo.key").unlink()
    (keys / "server.key_secret").unlink()
    os.mkfifo(keys / "server.key_secret", 0o600)
    with pytest.raises(SettingsError, match="not a regular file"):
        load_server(keys)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("root: important")
    (tmp_path / "lock").symlink_to(precious)
    with pytest.raises(StartError, match="link"):
        Lock(tmp_path / "lock", "the state")
    assert precious.read_text() == "root: important"


@pytest.mark.parametrize("name", ["lock", "in_work"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/none", path)])
def test_what_is_no_file_in_the_state_directory_is_refused_with_the_mend(
    daemon: MakeDaemon, name: str, make: Callable[[Path], None]
) -> None:
    refused = daemon()
    refused.state.mkdir(mode=0o700)
    make(refused.state / name)
    ended = subprocess.run(refused.command(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert str(refused.state / name) in ended.stderr
    assert ended.stderr.endswith("; remove it\n")


def test_a_deleted_lock_lets_no_second_daemon_in(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon().start()
    (listening.state / "lock").unlink()
    (tmp_path / "second").mkdir()
    second = daemon(base=tmp_path / "second")
    second.state = listening.state
    ended = subprocess.run(second.command(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert "in use by another tinyastd, whose lock" in ended.stderr
    write_wav(listening.folder / "a.wav")
    assert listening.ends(1)[0]["state"] == "done"
    assert listening.stop() == 0
    second.start()
    assert second.stop() == 0


def test_a_daemon_starts_on_nothing_that_others_can_change(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    listening = daemon()
    listening.state.mkdir(mode=0o700)
    config = tmp_path / "tinyast.toml"
    config.write_text(f'[[folder]]\npath = "{listening.folder}"\n')
    listening.options += ["--config", str(config)]
    for path in (listening.state, config, tmp_path):
        before = path.stat().st_mode
        path.chmod(0o777)
        ended = subprocess.run(listening.command(), capture_output=True, text=True, timeout=60)
        assert (ended.returncode, f"chmod go-w {path}`" in ended.stderr) == (3, True), ended.stderr
        path.chmod(before)
    listening.start()
    journal = listening.state / "journal.sqlite3"
    modes = {file.stat().st_mode & 0o777 for file in listening.state.glob("journal*")}
    assert (journal.exists(), modes) == (True, {0o600})


def test_a_checkpoint_is_held_to_its_sums(tmp_path: Path) -> None:
    shipped = Classifier.load().checkpoint.path
    copy = tmp_path / "model"
    shutil.copytree(shipped, copy)
    Classifier.load(copy)
    card = copy / "preprocessor_config.json"
    card.write_text(card.read_text() + "\n")
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json differs"):
        Classifier.load(copy)
    (copy / "SHA256SUMS").unlink()
    Classifier.load(copy)


def exposed_things(tmp_path: Path) -> tuple[list[object], dict[str, Path]]:
    """Options of a daemon, and its paths that strangers must not change, by their names."""
    for folder in ("conf", "run", "state", "in"):
        (tmp_path / folder).mkdir(mode=0o700)
    config = tmp_path / "conf" / "tinyast.toml"
    config.write_text(f'[[folder]]\npath = "{tmp_path}/in"\n')
    keys = make_keys(tmp_path / "keys")
    model = tmp_path / "model"
    shutil.copytree(Classifier.load().checkpoint.path, model)
    (tmp_path / "state" / "journal.sqlite3").touch(0o600)
    options = [
        "--config", config, "--state", tmp_path / "state", "--keys", keys, "--checkpoint", model,
        "--publish", f"ipc://{tmp_path}/run/p", "--replay", f"ipc://{tmp_path}/run/r",
    ]  # fmt: skip
    return options, {
        "the settings": config,
        "the folder of the settings": config.parent,
        "the state": tmp_path / "state" / "journal.sqlite3",
        "the key": keys / "clients" / "friend.key",
        "the directory of `publish`": tmp_path / "run",
        "the directory of `replay`": tmp_path / "run",
        "the model": model / "model.onnx",
    }


def test_the_doctor_names_everything_that_others_can_change(tmp_path: Path) -> None:
    options, paths = exposed_things(tmp_path)
    for path in paths.values():
        path.chmod(0o777)
    said = tinyastd("doctor", *options)
    lines = said.stdout.splitlines()
    wrong = [number for number, line in enumerate(lines) if line.split()[:2] == ["fail", "trust"]]
    assert said.returncode == 1
    assert len(wrong) == len(paths), said.stdout
    for number, (what, path) in zip(wrong, sorted(paths.items()), strict=False):
        assert lines[number + 1].strip().startswith("fix: run `chmod go-w ")
        assert any(f"{what} {path} can be changed" in lines[each] for each in wrong), said.stdout
    for line in lines:
        if "fix: run `chmod" in line:
            subprocess.run(line.partition("`")[2].rstrip("`"), shell=True, check=True)
    assert "only root can change the settings" in tinyastd("doctor", *options).stdout


@needs_root
def test_the_doctor_knows_the_user_of_a_service(tmp_path: Path) -> None:
    options, paths = exposed_things(tmp_path)
    for path in (tmp_path / "state", paths["the state"], paths["the key"]):
        os.chown(path, STRANGER, STRANGER)
    said = tinyastd("doctor", *options).stdout
    assert f"only root and user {STRANGER} can change" in said
    os.chown(paths["the model"], 12_345, 12_345)
    said = tinyastd("doctor", *options).stdout
    assert f"fix: run `chown {STRANGER} {paths['the model']}`" in said
