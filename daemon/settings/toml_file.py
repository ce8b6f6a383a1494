"""Read a settings file, and say what is wrong with it."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path

from daemon.errors import SettingsError, StartError, is_passing

MOST_BYTES = 1_000_000
MOST_PARTS = 100  # of a dotted key, for each of which tomllib looks at all before it
# Possessive, so that a long word is looked at once.
_ENDLESS_KEY = re.compile(rf"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){{{MOST_PARTS}}}")

Table = dict[str, object]  # of settings, as TOML has them


def read_toml(file: Path) -> Table:
    """The tables of a settings file. Raises SettingsError, StartError."""
    try:
        _check_kind(file)
        with file.open("rb") as found:
            content = found.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise SettingsError(f"settings {file} are longer than {MOST_BYTES:,} bytes")
        # Editors on Windows begin a file with a byte order mark, which TOML does not know.
        text = content.decode("utf-8-sig")
        if _ENDLESS_KEY.search(text):
            raise SettingsError(f"settings {file} have a key of over {MOST_PARTS} parts")
        return tomllib.loads(text)
    except FileNotFoundError as error:
        raise SettingsError(
            f"there is no settings file {file}; name another with --config"
        ) from error
    except IsADirectoryError as error:
        raise SettingsError(f"settings {file} are a folder; name the TOML file in it") from error
    except OSError as error:
        if is_passing(error):  # a service is started again after this, and not after a bad setting
            raise StartError(f"cannot read settings {file} now: {error.strerror}") from error
        raise SettingsError(f"cannot read settings {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"settings {file} are not UTF-8 text ({error.reason} at byte {error.start}); save them "
            "as UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings {file} are not TOML: {error}") from error


def _check_kind(file: Path) -> None:
    """Raise SettingsError for a named pipe: opening it may never end. Raises OSError."""
    # Below /dev are the standard input, and the pipe of <(...), which has a writer.
    of_shell = file.absolute().is_relative_to("/dev") or file.absolute().is_relative_to("/proc")
    if stat.S_ISFIFO(file.stat().st_mode) and not of_shell:
        raise SettingsError(f"settings {file} are a pipe, not a regular file; name the TOML file")
