"""Secrets in separate files: passwords, and URLs that hold one."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import SettingsError, StartError, is_passing

MOST_BYTES = 65_536
GROUP, OTHERS = stat.S_IRWXG, stat.S_IRWXO
ROOT = 0  # user and group


@dataclass(frozen=True)
class SecretFile:
    """A file that a setting names; `~` is the home of the user."""

    path: str
    setting: str  # such as `password_file`
    table: str  # of the settings, as errors name it
    holds: str  # in words, such as "the password"

    def read_line(self) -> str:
        """The secret: the first line, without its end. Raises SettingsError, StartError."""
        line = self._text().partition("\n")[0].removesuffix("\r")
        if not line.strip():
            raise self._error(f"must hold {self.holds} in its first line, which is empty")
        if line != line.strip():
            raise self._error("begins or ends its first line with a space: remove that")
        self._check_printable(line)
        return line

    def read_lines(self) -> list[str]:
        """The secrets, one on a line, without empty lines and those that begin with #.

        Raises SettingsError, StartError.
        """
        stripped = (line.strip() for line in self._text().splitlines())
        lines = [line for line in stripped if line and not line.startswith("#")]
        for line in lines:
            self._check_printable(line)
        return lines

    def _text(self) -> str:
        file = Path(os.path.expanduser(self.path))
        try:
            # Without O_NONBLOCK, opening a pipe waits for its writer.
            fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                self._check(os.fstat(fd), file)
                data = os.read(fd, MOST_BYTES + 1)
            finally:
                os.close(fd)
        except OSError as error:
            kind = StartError if is_passing(error) else SettingsError
            raise kind(
                f"cannot read {self._name}: {error.strerror}; write {self.holds} into it, and "
                "chmod 600"
            ) from error
        if len(data) > MOST_BYTES:
            raise self._error(f"is longer than {MOST_BYTES} bytes: name a file with secrets alone")
        try:
            return data.decode("utf-8-sig")  # editors on Windows begin a file with a mark
        except UnicodeDecodeError as error:
            raise self._error("is not UTF-8 text: save it as UTF-8") from error

    def _check(self, found: os.stat_result, file: Path) -> None:
        """Raise SettingsError for a file that others can read, or that is none."""
        if not stat.S_ISREG(found.st_mode):
            raise self._error("is not a file but a folder, pipe or device")
        user = os.geteuid()
        if user != ROOT and found.st_uid not in (ROOT, user):  # root asks for its services
            raise self._error(
                f"belongs to user {found.st_uid}, who can change it: make this user its owner"
            )
        # systemd lets a service read its credentials by an access list, shown as the group's bits.
        given = os.environ.get("CREDENTIALS_DIRECTORY")
        is_credential = bool(given) and file.absolute().is_relative_to(given or "")
        if found.st_mode & (OTHERS if is_credential else GROUP | OTHERS):
            raise self._error(f"is open to other users: chmod 600 {file}")

    def _check_printable(self, line: str) -> None:
        if not line.isprintable():
            raise self._error("holds a control character: write it with a text editor")

    @property
    def _name(self) -> str:
        return f"`{self.setting}` {self.path} of {self.table}"

    def _error(self, problem: str) -> SettingsError:
        return SettingsError(f"{self._name} {problem}")
