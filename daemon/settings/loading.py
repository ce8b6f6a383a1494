"""Read settings from defaults, TOML file, environment and flags, and explain errors."""

from __future__ import annotations

import logging
import math
import os
import platform
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from daemon.errors import SettingsError
from daemon.settings.explaining import LISTS, TABLES, explain
from daemon.settings.paths import expanded, resolved
from daemon.settings.schema import PUT_AWAY, USUAL_FOLDER, Events, Folder, Settings
from daemon.settings.streams import check_streams, with_url
from daemon.settings.toml_file import Table, read_toml

ENV_PREFIX = "TINYAST_"
# Variables of the client and the tests; not settings of the daemon.
ENV_OTHERS = {
    "TINYAST_STRESS", "TINYAST_FUZZ_S", "TINYAST_FUZZ_SEED", "TINYAST_SHARED", "TINYAST_CONFIG",
    "TINYAST_PARENT",
}  # fmt: skip

log = logging.getLogger(__name__)


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Read the settings. Raises SettingsError that names the setting and its source.

    `flags` are top-level settings by name, None if absent. The flag `watch`, one path or a list,
    replaces the configured folders, and `device` the microphones.
    """
    try:
        return _load(file, os.environ if environ is None else environ, flags or {})
    except (ValueError, OverflowError, RecursionError) as error:  # a NUL in a path, endless nesting
        raise SettingsError(
            f"settings {file or 'from the environment'} cannot be used: {error}"
        ) from error


def read_file(file: Path) -> Settings:
    """The settings of a file alone, with paths as they are written. Raises SettingsError."""
    return _check(read_toml(file), f"{file}")


def from_daemon(settings: bytes) -> Settings:
    """The settings that a daemon passes to a helper, as JSON."""
    return msgspec.json.decode(settings, type=Settings)


def _load(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    merged: Table = {}
    if file is not None:
        _merge(merged, read_toml(file))
        _check(merged, f"{file}")
    _merge(merged, _from_environment(environ))
    _check(merged, "the environment")
    given = {name: value for name, value in flags.items() if value is not None}
    if (watch := given.pop("watch", None)) is not None:
        paths = watch if isinstance(watch, list | tuple) else [watch]
        merged["folder"] = [{"path": str(path)} for path in paths]
    if (device := given.pop("device", None)) is not None:
        merged["microphone"] = [{"device": device}]
    if given.pop("page", False):
        merged.setdefault("page", {})
    _merge(merged, given)
    live = merged.get("microphone") or merged.get("stream")
    if live and not os.path.isdir(USUAL_FOLDER):  # it was not named
        merged.setdefault("folder", [])
    return _finish(_check(merged, "the command line"))


def _from_environment(environ: Mapping[str, str]) -> Table:
    """TINYAST_PUBLISH sets `publish`; TINYAST_DECISION__THRESHOLD `threshold` of `[decision]`."""
    merged: Table = {}
    for name, value in environ.items():
        if not name.startswith(ENV_PREFIX) or name in ENV_OTHERS:
            continue
        key = name.removeprefix(ENV_PREFIX).lower()
        if key == "watch":
            merged["folder"] = [{"path": value}]
            continue
        *tables, last = key.split("__")
        if not _is_setting(tables, last):
            # Kubernetes sets TINYAST_PORT and others for a service that is named tinyast.
            log.warning("%s names no setting and is ignored", name)
            continue
        target = merged
        for table in tables:
            inner = target.setdefault(table, {})
            if not isinstance(inner, dict):
                raise SettingsError(
                    f"settings from the environment: {name} needs `{table}` to be a table, and "
                    f"{ENV_PREFIX}{table.upper()} makes it something else"
                )
            target = inner
        target[last] = _typed(value, _is_text(tables, last))
    return merged


def _is_setting(tables: list[str], name: str) -> bool:
    """Whether there is a setting `name` in the table, or whatever a free table may hold."""
    if tables[:2] == ["events", "labels"] and len(tables) == 3:
        tables = tables[:2]  # the third is a label
    struct = TABLES.get(".".join(tables))
    if struct is not None and ".".join(tables) not in LISTS:
        return name in struct.__struct_fields__
    return tables == ["decision", "thresholds"]


def _is_text(tables: list[str], name: str) -> bool:
    """Whether a setting is always a string, so that TINYAST_NODE=7 needs no quotes."""
    struct = TABLES.get(".".join(tables))
    fields = () if struct is None else msgspec.structs.fields(struct)
    return any(field.name == name and field.type is str for field in fields)


def _typed(value: str, text: bool) -> object:
    """An environment value, parsed as TOML if possible, else as a plain string."""
    if text and value[:1] not in ("'", '"'):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _merge(into: Table, values: Mapping[str, object]) -> None:
    for key, value in values.items():
        inner = into.get(key)
        if isinstance(value, dict) and isinstance(inner, dict):
            _merge(inner, value)
        else:
            into[key] = value


def _check(values: Table, where: str) -> Settings:
    if (problem := _unusable(values)) is not None:
        raise SettingsError(f"settings from {where}: {problem}")
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings from {where}: {explain(str(error))}") from error


def _unusable(value: object, name: str = "") -> str | None:
    """Name a value that TOML allows but the daemon cannot use: not finite, or with a NUL."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"`{name}` is not a finite number"
    if isinstance(value, str) and "\0" in value:
        return f"`{name}` holds a NUL character"
    items = value.items() if isinstance(value, dict) else []
    if isinstance(value, list):
        items = [(f"[{index}]", item) for index, item in enumerate(value)]
    for key, item in items:
        place = f"{name}{'' if key.startswith('[') or not name else '.'}{key}"
        if (found := _unusable(item, place)) is not None:
            return found
    return None


def _finish(settings: Settings) -> Settings:
    if any(not folder.path for folder in settings.folder):
        raise SettingsError("`path` of a folder is empty; name the folder to watch")
    # Relative paths start at the working folder, and `~` is the home of the user.
    folders = tuple(
        msgspec.structs.replace(
            folder,
            # Resolve links once: the system sends no events about a link's target.
            path=resolved(expanded(folder.path)),
            name=folder.name or Path(os.path.abspath(expanded(folder.path))).name or "root",
        )
        for folder in settings.folder
    )
    if not folders and not settings.live:
        raise SettingsError(
            "nothing to listen to: name at least one [[folder]], [[microphone]] or [[stream]]"
        )
    _check_names("folders", [folder.name for folder in folders])
    _check_names("microphones", [microphone.name for microphone in settings.microphone])
    _check_names("microphones or streams", [each.name for each in settings.live])
    streams = tuple(map(with_url, settings.stream))
    check_streams(streams)
    _check_folders(folders)
    _check_events(settings.events)
    finished = msgspec.structs.replace(
        settings,
        folder=folders,
        stream=streams,
        node=settings.node or platform.node() or "unknown",
        state=_state(settings),
        keys=expanded(settings.keys),
        checkpoint=expanded(settings.checkpoint),
    )
    try:
        msgspec.json.encode(finished)
    except UnicodeEncodeError as error:
        raise SettingsError(
            f"{error.object!a} is not UTF-8, and messages could not name it; use another name"
        ) from error
    return finished


def _state(settings: Settings) -> str:
    """The absolute state directory; empty for a user without a home: few commands need it."""
    try:
        return os.path.abspath(expanded(str(settings.state_path)))
    except SettingsError:
        return ""


def _check_names(what: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SettingsError(f"two {what} are named `{twice}`; give each its own `name`")


def _check_events(events: Events) -> None:
    for label in ("", *events.labels):
        rules = events.of(label)
        if rules.confirm_count > rules.confirm_of:
            table = f"events.labels.{label}" if label else "events"
            raise SettingsError(
                f"`{table}`: {rules.confirm_count} windows (`confirm_count`) can never be found "
                f"among {rules.confirm_of} (`confirm_of`)"
            )


def _check_folders(folders: tuple[Folder, ...]) -> None:
    for folder in folders:
        if bare := [each for each in folder.suffixes if not each.startswith(".")]:
            raise SettingsError(
                f"`suffixes` of folder `{folder.name}` names {bare[0]!r}; write a dot before it"
            )
        if not folder.formats:
            raise SettingsError(
                f"`formats` of folder `{folder.name}` is empty; name some, such as "
                '["wav", "flac"], or leave it out'
            )
        try:
            re.compile(folder.time_pattern)
        except re.error as error:
            raise SettingsError(
                f"`time_pattern` of folder `{folder.name}` is not a regular expression: {error}"
            ) from error
        for other in folders:
            inside = Path(other.path).is_relative_to(folder.path)
            if other is not folder and inside and (folder.recursive or other.path == folder.path):
                raise SettingsError(
                    f"folder `{other.name}` lies inside `{folder.name}`, so its files would be "
                    "classified twice; watch one of them"
                )
            own = any(
                Path(other.path).is_relative_to(os.path.join(folder.path, name))
                for name in PUT_AWAY
            )
            if other is not folder and own and folder.after == "move":
                raise SettingsError(
                    f"folder `{other.name}` is where `{folder.name}` moves its files, which would "
                    "be classified twice; watch another"
                )
