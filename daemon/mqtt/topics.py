"""MQTT topics for ZeroMQ topics, and names for states that the broker retains."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from daemon.errors import SettingsError
from daemon.protocol.messages import PREFIX
from daemon.settings.schema import Settings

ROOT = "tinyast"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")  # in an id of Home Assistant


def level(text: str) -> str:
    """One level of a topic. Characters that could be taken for structure become `_`."""
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in text) or "_"


def forwarded(topic: str, node: str) -> str:
    """`tinyast.v1.event.mic.porch.dog` of the node `n` is `tinyast/n/event/mic/porch/dog`."""
    return f"{ROOT}/{level(node)}/{topic.removeprefix(PREFIX).replace('.', '/')}"


def state(node: str, *levels: str) -> str:
    """The topic of a retained state of the daemon `node` or one of its sources."""
    return "/".join((ROOT, level(node), *map(level, levels)))


def clash(sources: Iterable[tuple[str, str]]) -> str | None:
    """What is wrong if two sources, each a kind and a name, have the same topics."""
    first: dict[tuple[str, str], str] = {}
    for kind, name in sources:
        other = first.setdefault((kind, level(name)), name)
        if other != name:
            return (
                f"the sources `{other}` and `{name}` are both `{level(name)}` in MQTT topics, so "
                "each would overwrite the states of the other; change the `name` of one"
            )
    return None


def check_names(settings: Settings) -> None:
    """Raises SettingsError for two sources with the same topics."""
    sources = [("file", folder.name) for folder in settings.folder]
    if words := clash([*sources, *(("mic", live.name) for live in settings.live)]):
        raise SettingsError(words)


def is_state(topic: str) -> bool:
    """Whether a retained topic is a state, rather than a description for Home Assistant."""
    return topic.startswith(f"{ROOT}/")


def availability(node: str) -> str:
    return state(node, "availability")


def plain(*parts: str) -> str:
    """An id of letters, digits, `_` and `-` for people, which others may have too."""
    return "_".join(_UNSAFE.sub("_", part) for part in parts)


def slug(*parts: str) -> str:
    """An id of letters, digits, `_` and `-` that differs whenever `parts` do."""
    if all(part and not _UNSAFE.search(part) and "_" not in part for part in parts):
        return plain(*parts)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:6]
    return f"{plain(*parts)}_{digest}"
