"""Command-line options that override settings. Each is described once, here."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.errors import SettingsError
from daemon.host.parent import given_settings, is_helper
from tinyast.inference.engine_names import EngineChoice

if TYPE_CHECKING:
    from daemon.client import ClientKeys
    from daemon.settings.schema import Settings

Config = Annotated[
    Path | None,
    typer.Option(help="Settings (TOML); see config/tinyast.toml.", envvar="TINYAST_CONFIG"),
]
Watch = Annotated[
    list[Path] | None,
    typer.Option(help="Folder to watch, instead of those in the settings; may be repeated."),
]
State = Annotated[Path | None, typer.Option(help="Directory of the journal and the ledger.")]
Publish = Annotated[str | None, typer.Option(help="Endpoint of live messages.")]
Replay = Annotated[str | None, typer.Option(help="Endpoint of replay.")]
Engine = Annotated[
    EngineChoice | None,
    typer.Option(help="Engine that runs the model; auto: int8 if faster and nearly as exact."),
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Checkpoint folder, or the name of a shipped checkpoint.")
]
Mic = Annotated[bool, typer.Option("--mic", help="Also listen to a microphone.")]
Device = Annotated[
    str | None, typer.Option(help="A microphone's name, from `tinyastd devices`; implies --mic.")
]
Workers = Annotated[int | None, typer.Option(help="Worker threads; 0 for one per core.")]
Keys = Annotated[
    Path | None,
    typer.Option(help="Key directory (`tinyastd keygen`): only its clients can connect."),
]
Metrics = Annotated[
    str | None, typer.Option(help="HOST:PORT of /metrics, /healthz and /readyz over HTTP.")
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Allow endpoints that other machines can reach.")
]
ServerKey = Annotated[Path | None, typer.Option(help="The daemon's public key: server.key.")]
OwnKey = Annotated[Path | None, typer.Option(help="Your own key: NAME.key_secret.")]
PageBeside = Annotated[bool, typer.Option("--page", help="Also serve the web page.")]
ReloadOnHup = Annotated[
    bool,
    typer.Option(
        "--reload-on-hup",
        help="Read the settings again on SIGHUP instead of stopping, as under a service manager.",
    ),
]

Check = Annotated[
    bool, typer.Option("--check", help="Only check the settings of this command, and exit.")
]

FLAGS = {  # that stand for settings of the same name
    "watch", "state", "publish", "replay", "engine", "checkpoint", "device", "workers", "keys",
    "metrics", "insecure", "page",
}  # fmt: skip


def read_settings(context: typer.Context) -> Settings:
    """Read the settings, overridden by the options of the command in `context`.

    A helper has those of its daemon. Each call reads the file and the environment again. Raises
    SettingsError.
    """
    from daemon.settings.loading import from_daemon, load

    if is_helper():
        return from_daemon(given_settings())
    given = context.params
    flags = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in given.items()
        if name in FLAGS and value is not False and value not in ((), [])
    }
    if given.get("mic") and flags.get("device") is None:
        flags["device"] = ""  # the default input
    config = given.get("config")
    return load(None if config is None else Path(config), flags=flags)


def warn_of_labels(settings: Settings, named: Iterable[tuple[str, Collection[str]]]) -> None:
    """Print which labels, named by each setting, the model of these settings does not know.

    No more than a warning: the daemon that is followed may run another model.
    """
    from daemon.pipeline.decision import unknown
    from tinyast.inference.checkpoint import read_checkpoint

    if given := [(setting, labels) for setting, labels in named if labels]:
        known = read_checkpoint(settings.checkpoint_path).labels
        for setting, labels in given:
            for words in unknown(setting, labels, known):
                typer.echo(words, err=True)


def client_keys(server: Path | None, own: Path | None) -> ClientKeys | None:
    """The keys that two options name; None without them. Raises SettingsError."""
    from daemon.client import ClientKeys

    if server is None and own is None:
        return None
    if server is None or own is None:
        raise SettingsError("--server-key and --own-key go together")
    return ClientKeys.load(server, own)
