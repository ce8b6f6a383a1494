"""The options of the command line that stand for settings: each is described once, here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from tinyast.inference.engine_names import EngineName

if TYPE_CHECKING:
    from daemon.settings.schema import Settings

Own = ParamSpec("Own")
ReadSettings = Callable[[], "Settings"]

OPTIONS: dict[str, Any] = {
    "config": Annotated[
        Path | None,
        typer.Option(help="Settings (TOML); see config/tinyast.toml.", envvar="TINYAST_CONFIG"),
    ],
    "watch": Annotated[
        Path | None, typer.Option(help="Folder to watch, in place of those configured.")
    ],
    "state": Annotated[Path | None, typer.Option(help="Directory for the journal and the ledger.")],
    "publish": Annotated[str | None, typer.Option(help="Endpoint of live messages.")],
    "replay": Annotated[str | None, typer.Option(help="Endpoint of replay.")],
    "engine": Annotated[EngineName | None, typer.Option(help="What runs the model.")],
    "checkpoint": Annotated[Path | None, typer.Option(help="Checkpoint folder.")],
    "mic": Annotated[bool | None, typer.Option("--mic", help="Listen to a microphone too.")],
    "device": Annotated[
        str | None, typer.Option(help="Its name, by `tinyastd devices`; implies --mic.")
    ],
    "workers": Annotated[int | None, typer.Option(help="Threads; 0 for one per core.")],
    "keys": Annotated[
        Path | None,
        typer.Option(help="Key directory (`tinyastd keygen`): only its clients get in."),
    ],
    "metrics": Annotated[
        str | None, typer.Option(help="HOST:PORT of /metrics, /healthz and /readyz over HTTP.")
    ],
    "insecure": Annotated[
        bool | None, typer.Option("--insecure", help="Allow endpoints others can reach.")
    ],
}
DAEMON = tuple(OPTIONS)  # what a daemon can be started with
ENDPOINTS = ("config", "publish", "replay")  # where one is found


def takes_settings(
    *names: str,
) -> Callable[[Callable[Concatenate[ReadSettings, Own], None]], Callable[..., None]]:
    """Give a command the options `names` after its own.

    Its first argument becomes a function that reads the settings with what was given; each call
    reads them anew. That raises SettingsError.
    """

    def decorate(command: Callable[Concatenate[ReadSettings, Own], None]) -> Callable[..., None]:
        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        added = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=OPTIONS[name])
            for name in names
        ]

        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            flags = {name: given.pop(name) for name in names}
            command(functools.partial(_read, flags), **given)  # type: ignore[call-arg]

        # What typer reads: the names, types and defaults of all options.
        parameters = [*(one.replace(kind=Parameter.KEYWORD_ONLY) for one in own), *added]
        with_options.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {one.name: one.annotation for one in parameters}
        return with_options

    return decorate


def _read(given: dict[str, Any]) -> Settings:
    from daemon.settings.loading import load

    flags = {name: str(v) if isinstance(v, Path) else v for name, v in given.items()}
    config = flags.pop("config", None)
    if flags.pop("mic", None) and flags["device"] is None:
        flags["device"] = ""  # the default one
    return load(None if config is None else Path(config), flags=flags)
