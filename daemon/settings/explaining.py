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
    place = place.rstrip("`").removeprefix("$").removeprefix(".")
    if unknown := re.search(r"unknown field `(.*)`", problem):
        name = unknown.group(1)
        known = _fields_at(place)
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(known))}"
        return f"unknown setting `{f'{place}.' if place else ''}{name}`; {hint}"
    if missing := re.search(r"missing required field `(.*)`", problem):
        return f"`{place}` has no `{missing.group(1)}`"
    if problem.startswith("Invalid enum value"):
        problem = f"{problem.removeprefix('Invalid enum value ')} is none of its choices"
        if choices := _choices_at(place):
            problem += f": {', '.join(choices)}"
    if wrong := re.fullmatch(r"Expected `(.+)`, got `(\w+)`", problem):
        return _fit(place, wrong[1], wrong[2])
    return f"`{place}`: {problem}" if place else problem


def _choices_at(place: str) -> tuple[str, ...]:
    """The allowed words of a setting that is one of a few words or a list of them."""
    *tables, name = re.sub(r"\[.*?\]", "", place).split(".")
    struct = TABLES.get(".".join(tables), Settings)
    kind = next((f.type for f in msgspec.structs.fields(struct) if f.name == name), None)
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) is Literal else ()


def _fields_at(place: str) -> tuple[str, ...]:
    return TABLES.get(re.sub(r"\[.*?\]", "", place), Settings).__struct_fields__


def _fit(place: str, wanted: str, got: str) -> str:
    """Which type a setting has, with an example. `wanted` and `got` are msgspec's names."""
    plain = re.sub(r"\[.*?\]", "", place)
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
        "array": 'a list in brackets, such as ["dog", "cat"]',
        "object": f"a table: write [{plain}], and its settings below",
    }
    return f"`{place}` is {words.get(kind, wanted)}, not {_GOT.get(got, got)}"


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
