"""A password or URL in a file: all settings that name one refuse the same files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.commands.checks.subscribers import check_mqtt, check_notify, check_page
from daemon.errors import SettingsError
from daemon.mqtt import broker
from daemon.notify.service import services
from daemon.page import checking
from daemon.settings.schema import Page, Settings, Stream
from daemon.settings.secret_files import MOST_BYTES, SecretFile
from daemon.settings.streams import with_url
from daemon.settings.subscribers import Mqtt, Notify

SECRET = "json://me:s3cret@127.0.0.1/hook"
READERS: dict[str, Callable[[str], object]] = {
    "`password_file` {} of [page]": lambda path: checking.check(Page(password_file=path)),
    "`password_file` {} of [mqtt]": lambda path: broker.check(Mqtt(user="me", password_file=path)),
    "`url_file` {} of stream `yard`": lambda path: with_url(Stream(name="yard", url_file=path)),
    "`urls_file` {} of notify `door`": lambda path: services(Notify(urls_file=path), "door"),
}
BAD: dict[str, tuple[bytes | None, int, str]] = {  # content, mode, words
    "missing": (None, 0, "No such file or directory; write the .* into it, and chmod 600"),
    "open to all": (SECRET.encode(), 0o666, "is open to other users: chmod 600 "),
    "open to its group": (SECRET.encode(), 0o660, "is open to other users: chmod 600 "),
    "too long": (b"#" * (MOST_BYTES + 1), 0o600, f"is longer than {MOST_BYTES} bytes"),
    "Latin-1": (b"caf\xe9://x\n", 0o600, "is not UTF-8 text: save it as UTF-8"),
    "UTF-16": (SECRET.encode("utf-16"), 0o600, "is not UTF-8 text: save it as UTF-8"),
    "NUL": (b"json://x\0y\n", 0o600, "holds a control character"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch()
    return path


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # of Apprise
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("fault", [*BAD, "folder", "pipe"])
def test_all_settings_refuse_the_same_files_in_the_same_words(
    file: Path, name: str, fault: str
) -> None:
    content, mode, words = BAD.get(fault, (None, 0, "is not a file but a folder, pipe or device"))
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
        file.chmod(mode)
    if fault == "folder":
        file.mkdir(0o700)
    elif fault == "pipe":
        os.mkfifo(file, 0o600)
    with pytest.raises(SettingsError, match=words) as caught:
        READERS[name](str(file))
    assert name.format(file) in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in READERS if "urls" not in name])
@pytest.mark.parametrize("content", ["", "\n\nlong secret\n", " \n", "\ufeff\r\n"])
def test_a_first_line_that_is_empty_is_refused(file: Path, name: str, content: str) -> None:
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(SettingsError, match=r"must hold the .* in its first line, which is empty"):
        READERS[name](str(file))
    file.write_text("long secret \n")
    with pytest.raises(SettingsError, match="begins or ends its first line with a space"):
        READERS[name](str(file))


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nmore\n"])
def test_the_secret_is_the_first_line_without_its_end(
    file: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(f"\ufeffgrüne Äpfel{end}".encode())
    file.chmod(0o400)
    monkeypatch.setenv("HOME", str(file.parent))
    for path in (str(file), "~/secret"):
        assert SecretFile(path, "password_file", "[mqtt]", "it").read_line() == "grüne Äpfel"


def test_lines_are_without_comments(file: Path) -> None:
    file.write_text("# phones\n  json://a \n\n#json://b\r\njson://c")
    file.chmod(0o600)
    assert SecretFile(str(file), "urls_file", "notify", "them").read_lines() == [
        "json://a",
        "json://c",
    ]


def test_a_credential_of_systemd_may_show_its_access_list_as_bits_of_the_group(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("long secret\n")
    secret = SecretFile(str(file), "password_file", "[page]", "the password")
    file.chmod(0o440)
    with pytest.raises(SettingsError, match="is open to other users"):
        secret.read_line()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    assert secret.read_line() == "long secret"
    file.chmod(0o444)
    with pytest.raises(SettingsError, match="is open to other users"):
        secret.read_line()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("long secret\n")
    secret = SecretFile(str(file), "password_file", "[page]", "the password")
    os.chown(file, 1_001, 1_001)
    file.chmod(0o600)
    assert secret.read_line() == "long secret"  # root asks for the user of a service
    monkeypatch.setattr("os.geteuid", lambda: 1_002)
    with pytest.raises(SettingsError, match="belongs to user 1001, who can change it"):
        secret.read_line()


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # of Apprise
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("mode", [0o640, 0o644])
def test_a_file_that_others_can_read(
    file: Path, name: str, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What opens this daemon's sound is refused; for other programs' secrets it is a warning."""
    file.write_text(SECRET)
    file.chmod(mode)
    if "[page]" in name or "stream" in name:
        with pytest.raises(SettingsError, match="is open to other users: chmod 600"):
            READERS[name](str(file))
    else:
        READERS[name](str(file))
        assert f"{name.format(file)} can be read by other users: chmod 600 {file}" in caplog.text


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # of Apprise
def test_the_doctor_says_what_a_start_says(file: Path, tmp_path: Path) -> None:
    file.chmod(0o622)
    everything = Settings(state=str(tmp_path), publish="ipc://p", replay="ipc://r")
    path = str(file)
    checks = [
        *check_page(Page(password_file=path), everything),
        *check_mqtt(Mqtt(user="me", password_file=path), Settings()),
        *check_notify(Notify(name="door", urls_file=path), 1),
    ]
    checks = [check for check in checks if check.state != "warn"]
    for check, name in zip(checks, [name for name in READERS if "url_" not in name], strict=True):
        with pytest.raises(SettingsError) as caught:
            READERS[name](path)
        assert (check.state, check.text) == ("fail", str(caught.value)), re.escape(check.text)
