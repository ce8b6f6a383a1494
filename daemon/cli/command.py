"""A command of the command line, and the mistakes that all commands refuse alike."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from daemon.errors import SettingsError

# Options with a path that are not declared as one, because it may be an address too.
TEXTS = {"output"}


class Command(TyperCommand):
    """Refuses empty paths, which would mean the current folder."""

    # `ctx` has a type of typer's own copy of click, or of click: it depends on typer's version.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            given = ctx.params.get(parameter.name)
            values = given if isinstance(given, list | tuple) else [given]
            if "" in values and is_path(parameter):
                raise SettingsError(
                    f"{name_of(parameter)} is empty; name a path (. is the current folder)"
                )
        return rest


def name_of(parameter: Any) -> str:
    """A parameter as the help calls it: `--output`, `PATH`."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper()).removesuffix("...")
    return str(max(parameter.opts, key=len))


def is_path(parameter: Any) -> bool:
    """Whether a parameter of a command is a path: all arguments are."""
    is_argument = parameter.param_type_name == "argument"
    return is_argument or parameter.type.name == "path" or parameter.name in TEXTS
