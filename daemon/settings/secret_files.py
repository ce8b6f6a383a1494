"""Secrets in separate files: passwords, and URLs that hold one."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import SettingsError, StartError, is_passing

log = logging.getLogger(__name__)

MOST_BYTES = 65_536
GROUP, OTHERS = stat.S_IRWXG, stat.S_IRWXO
CHANGE = stat.S_IWGRP | stat.S_IWOTH
ROOT = 0  # user and group


@dataclass(frozen=True)
class SecretFile:
    """A file that a setting names; `~` is the home of the user."""

    path: str
    setting: str  # such as `password_file`
    table: str  # of the settings, as errors name it
    holds: str  # in words, such as "the password"
    refuse_open: bool = True  # a file that other users can read; else that is only a warning

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

    def warning(self) -> str | None:
        """Words for a file that other users can read and that is not refused for it."""
        try:
            return self._warning(os.stat(self._path))
        except OSError:  # said by whoever reads it
            return None

    def _warning(self, found: os.stat_result) -> str | None:
        if self.refuse_open or not self._openness(found):
            return None
        return f"{self._name} can be read by other users"

    def _text(self) -> str:
        try:
            # Without O_NONBLOCK, opening a pipe waits for its writer.
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                self._check(os.fstat(fd))
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

    def _check(self, found: os.stat_result) -> None:
        """Raise SettingsError for a file that is open to others, or that is none; or warn."""
        if not stat.S_ISREG(found.st_mode):
            raise self._error("is not a file but a folder, pipe or device")
        user = os.geteuid()
        if user != ROOT and found.st_uid not in (ROOT, user):  # root asks for its services
            raise self._error(
                f"belongs to user {found.st_uid}, who can change it: make this user its owner"
            )
        if (words := self._warning(found)) is not None:
            log.warning("%s: chmod 600 %s", words, self._path)
        if self._openness(found) & (GROUP | OTHERS if self.refuse_open else CHANGE):
            raise self._error(f"is open to other users: chmod 600 {self._path}")

    def _openness(self, found: os.stat_result) -> int:
        """What the mode lets other users do."""
        # systemd lets a service read its credentials by an access list, shown as the group's bits.
        given = os.environ.get("CREDENTIALS_DIRECTORY")
        is_credential = bool(given) and self._path.absolute().is_relative_to(given or "")
        return found.st_mode & (OTHERS if is_credential else GROUP | OTHERS)

    def _check_printable(self, line: str) -> None:
        if not line.isprintable():
            raise self._error("holds a control character: write it with a text editor")

    @property
    def _path(self) -> Path:
        return Path(os.path.expanduser(self.path))

    @property
    def _name(self) -> str:
        return f"`{self.setting}` {self.path} of {self.table}"

    def _error(self, problem: str) -> SettingsError:
        return SettingsError(f"{self._name} {problem}")
