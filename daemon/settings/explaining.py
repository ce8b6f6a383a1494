"""Explain what is wrong with settings, in the terms of a settings file."""

from __future__ import annotations

import difflib
import re
from typing import Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from daemon.settings.schema import (
    Audio,
    Decision,
    EventRule,
    Events,
    Folder,
    JournalLimits,
    Log,
    Microphone,
    Page,
    Pictures,
    Privacy,
    Settings,
    Stream,
)
from daemon.settings.subscribers import HomeAssistant, Mqtt, Notify

TABLES: dict[str, type[Struct]] = {
    "": Settings, "folder": Folder, "microphone": Microphone, "stream": Stream,
    "decision": Decision, "events": Events, "events.labels": EventRule, "audio": Audio,
    "journal": JournalLimits, "page": Page, "pictures": Pictures, "privacy": Privacy,
    "mqtt": Mqtt, "mqtt.home_assistant": HomeAssistant, "notify": Notify, "log": Log,
}  # fmt: skip
# Lists of tables: no variable names one of their members.
LISTS = ("folder", "microphone", "stream", "notify")


def explain(text: str) -> str:
    """Translate msgspec's error into the terms of a settings file."""
    problem, _, place = text.partition(" - at `")
    # msgspec does not say which key of a free table it means.
    place = place.rstrip("`").removeprefix("$").removeprefix(".").replace("[...]", ".LABEL")
    if unknown := re.search(r"unknown field `(.*)`", problem):
        name = unknown.group(1)
        known = _fields_at(place)
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(known))}"
        return f"unknown setting `{f'{place}.' if place else ''}{name}`; {hint}"
    if missing := re.search(r"missing required field `(.*)`", problem):
        return f"`{place}` has no `{missing.group(1)}`"
    if problem.startswith("Invalid enum value"):
        problem = f"{problem.removeprefix('Invalid enum value ')} is not one of its choices"
        if choices := _choices_at(place):
            problem += f": {', '.join(choices)}"
        if _plain(place).endswith(".channel"):
            problem += ", or the number of a channel, from 1"
    if wrong := re.fullmatch(r"Expected `(.+)`, got `(\w+)`", problem):
        return _fit(place, wrong[1], wrong[2])
    if wrong := re.fullmatch(r"Expected `(int|float)` (\S+) (\S+)", problem):
        kind = "a whole number" if wrong[1] == "int" else "a number"
        return f"`{place}` is {kind} {_BOUNDS[wrong[2]]} {float(wrong[3]):.10g}"
    if problem.startswith("Expected `str` matching regex"):
        return f"`{place}` is text such as {_PATTERNS.get(_plain(place), '…')}"
    return f"`{place}`: {problem}" if place else problem


def _choices_at(place: str) -> tuple[str, ...]:
    """The allowed words of a setting that is one of a few words, a list of them, or unset."""
    *tables, name = _plain(place).split(".")
    struct = TABLES.get(".".join(tables), Settings)
    kind = next((f.type for f in msgspec.structs.fields(struct) if f.name == name), None)
    inner = [kind, *get_args(kind)]
    return next((get_args(each) for each in inner if get_origin(each) is Literal), ())


def _fields_at(place: str) -> tuple[str, ...]:
    return TABLES.get(_plain(place), Settings).__struct_fields__


def _plain(place: str) -> str:
    """The place as a table and a name: without numbers and labels."""
    return re.sub(r"\[\d+\]|\.LABEL", "", place)


_BOUNDS = {">=": "of at least", ">": "above", "<=": "of at most", "<": "below"}
_PATTERNS = {"notify.hours": '"22:00-07:00", from and to'}


def _fit(place: str, wanted: str, got: str) -> str:
    """Which type a setting has, with an example. `wanted` and `got` are msgspec's names."""
    plain = _plain(place)
    if got == "object" and plain in LISTS:
        return f"write [[{plain}]], with two brackets: there may be several"
    if got == "array" and plain in TABLES:
        return f"write [{plain}], with one bracket: there is only one"
    kind = wanted.split(" ")[0]
    example = _example(plain, kind)
    words = {
        "float": f"a number such as {example}",
        "int": f"a whole number such as {example}",
        "bool": "true or false, without quotes",
        "str": f'text in quotes, such as "{example}"',
        "array": f"a list in brackets, such as {_LISTS.get(plain.split('.')[-1], _LABELS)}",
        "object": f"a table: write [{plain}], and its settings below",
    }
    return f"`{place}` is {words.get(kind, wanted)}, not {_GOT.get(got, got)}"


_LABELS = '["dog", "cat"]'
_LISTS = {
    "formats": '["wav", "flac"]',
    "suffixes": '[".wav", ".flac"]',
    "urls": '["ntfys://ntfy.sh/topic"]',
}
_GOT = {
    "float": "a fraction", "int": "a number", "bool": "true or false", "str": "text",
    "array": "a list", "object": "a table",
}  # fmt: skip
_EXAMPLES = {"float": "0.75", "int": "1", "str": "garden"}


def _example(plain: str, kind: str) -> str:
    """The default of a setting, or something like it."""
    *tables, name = plain.split(".")
    fields = msgspec.structs.fields(TABLES.get(".".join(tables), Settings))
    default = next((each.default for each in fields if each.name == name), None)
    if isinstance(default, int | float | str) and default and not isinstance(default, bool):
        return str(default)
    return _EXAMPLES.get(kind, "")
