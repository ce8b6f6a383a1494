"""`tinyastd`: the command line. A command reads its options and calls the module that does it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from daemon.commands.options import DAEMON, ENDPOINTS, ReadSettings, takes_settings
from daemon.errors import DaemonError, SettingsError
from tinyast.errors import TinyASTError

if TYPE_CHECKING:
    from daemon.client import ClientKeys

app = typer.Typer(
    help="Listen to a folder of recordings, classify what is heard, publish it over ZeroMQ.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ServerKey = Annotated[Path | None, typer.Option(help="The daemon's public key: server.key.")]
OwnKey = Annotated[Path | None, typer.Option(help="Your own key: NAME.key_secret.")]

ANSWER_S = 2.0  # for a daemon on this machine to say how it is


def _client_keys(server: Path | None, own: Path | None) -> ClientKeys | None:
    from daemon.client import ClientKeys

    if server is None and own is None:
        return None
    if server is None or own is None:
        raise SettingsError("--server-key and --own-key go together")
    return ClientKeys.load(server, own)


def _version(wanted: bool) -> None:
    if wanted:
        from tinyast import __version__

        typer.echo(f"tinyastd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
@takes_settings(*DAEMON)
def run(read: ReadSettings) -> None:
    """Run the daemon until it is told to stop (SIGTERM or Ctrl-C)."""
    settings = read()
    from daemon.monitoring import logging as logs

    logs.configure(settings.log)
    from daemon.commands.run import announce
    from daemon.service.lifecycle import Service

    Service(settings, read).run(announce)


@app.command()
@takes_settings(*ENDPOINTS)
def listen(
    read: ReadSettings,
    since: Annotated[
        int | None, typer.Option(help="Begin after this seq; 0 for all that is kept.", min=0)
    ] = None,
    topic: Annotated[str, typer.Option(help="Only topics that begin with this.")] = "tinyast.v1.",
    json: Annotated[bool, typer.Option("--json", help="Whole messages, one a line.")] = False,
    server_key: ServerKey = None,
    own_key: OwnKey = None,
) -> None:
    """Print what a daemon says, missing nothing."""
    settings = read()
    from daemon.client import Client, NoAnswer
    from daemon.commands.listen import Screen, line

    keys = _client_keys(server_key, own_key)
    with Client(settings.publish, settings.replay, since, (topic,), keys=keys) as client:
        try:
            client.status()
        except NoAnswer:
            typer.echo(f"no daemon answers at {settings.replay} yet; waiting for one", err=True)
        screen = Screen(sys.stdout) if sys.stdout.isatty() and not json else None
        try:
            if screen is not None:
                screen.follow(client)
            for received in client:
                text = received.body.decode() if json else line(received.message)
                print(text, flush=True)
        except (KeyboardInterrupt, BrokenPipeError):
            if screen is not None:
                screen.leave()
            sys.stderr.close()


@app.command()
@takes_settings("config", "engine", "checkpoint", "workers")
def classify(
    read: ReadSettings,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    format: Annotated[
        Literal["table", "csv", "jsonl"], typer.Option(help="What to print.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option(help="Write here; a csv or jsonl already begun is gone on with.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin the output file anew.")
    ] = False,
    formats: Annotated[
        str | None, typer.Option(help="Audio formats read, such as wav,flac,ogg,mp3.")
    ] = None,
) -> None:
    """Classify files and folders once, without a daemon. Exit code 1 if any file failed."""
    settings = read()
    from daemon.commands.classify import run_batch

    failed = run_batch(settings, paths, format, output, overwrite, formats)
    raise typer.Exit(1 if failed else 0)


@app.command()
@takes_settings("config", "watch", "state")
def reprocess(
    read: ReadSettings,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders in a watched folder.")],
) -> None:
    """Forget what was said of these files and have the daemon classify them again."""
    settings = read()
    from daemon.commands.classify import find_watched
    from daemon.service.inbox import ask_reprocess

    found = find_watched(settings, paths)
    try:
        ask_reprocess(settings.state_path, found)
    except OSError as error:
        raise SettingsError(
            f"cannot write to the state directory {settings.state_path}: {error.strerror}"
        ) from error
    typer.echo(f"{len(found)} files: classified again at once, or when the daemon is started")


@app.command()
@takes_settings("config", "state")
def backup(
    read: ReadSettings,
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="New file to write it to.")],
) -> None:
    """Copy the journal of messages and files, while the daemon runs or not."""
    from daemon.journal.backup import backup

    newest = backup(read().state_path, copy)
    typer.echo(f"wrote {copy}: all up to seq {newest}")


@app.command()
@takes_settings("config", "state")
def restore(
    read: ReadSettings,
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="File made by `backup`.")],
) -> None:
    """Put a copy of the journal back, while the daemon does not run.

    Files that were classified after the copy was made are classified again.
    """
    from daemon.journal.backup import restore

    newest, aside = restore(copy, read().state_path)
    typer.echo(
        f"restored up to seq {newest}, as a new journal: subscribers read it from its start"
        + (f"\nThe journal that was there is now {aside}" if aside else "")
    )


@app.command()
@takes_settings(*ENDPOINTS)
def status(
    read: ReadSettings,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    server_key: ServerKey = None,
    own_key: OwnKey = None,
) -> None:
    """Ask the running daemon how it is. Exit code 1 if none answers."""
    settings = read()
    import msgspec

    from daemon.client import NoAnswer, ask_status
    from daemon.commands.status import describe

    try:
        answer = ask_status(settings.replay, _client_keys(server_key, own_key), ANSWER_S)
    except NoAnswer as error:
        raise DaemonError(f"{error}; start one with `tinyastd run`") from error
    typer.echo(msgspec.json.encode(answer).decode() if json else describe(answer))


@app.command()
def keygen(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Key directory of the daemon.")],
    client: Annotated[
        str | None, typer.Option(help="Make a key for a subscriber of this name, and let it in.")
    ] = None,
) -> None:
    """Make keys, so that other machines can listen and strangers cannot."""
    from daemon.protocol.keys import make_client, make_server

    if client is None:
        public = make_server(folder)
        typer.echo(
            f"made the daemon's key pair in {folder}\n"
            f"Next: `tinyastd keygen {folder} --client NAME` for each subscriber, and "
            f'`keys = "{folder.absolute()}"` in the daemon\'s settings.\n'
            f"Subscribers need {public}"
        )
        return
    public, secret = make_client(folder, client)
    typer.echo(
        f"{client} is let in from now on by {public}; remove that file to shut it out again\n"
        f"Next: carry {secret} and {folder / 'server.key'} to the subscriber, then delete "
        f"{secret.name} here: `tinyastd listen --own-key {secret.name} --server-key server.key`"
    )


@app.command("install-service")
def install_service(
    config: Annotated[
        Path | None, typer.Option(help="Settings of the service; /etc/tinyast/tinyast.toml.")
    ] = None,
    user: Annotated[bool, typer.Option("--user", help="For this user alone.")] = False,
    show: Annotated[bool, typer.Option("--print", help="Print the unit, write nothing.")] = False,
) -> None:
    """Write a systemd unit for this installation, and say how to start it."""
    from daemon.commands.install_service import install, render

    if show:
        typer.echo(render(config, user), nl=False)
        return
    path = install(config, user)
    systemctl = "systemctl --user" if user else "systemctl"
    socket = "$XDG_RUNTIME_DIR/tinyast" if user else "/run/tinyast"
    typer.echo(
        f"wrote {path}\n"
        f"Next: put settings where its ExecStart names them (config/tinyast.toml shows all), then\n"
        f"  {systemctl} daemon-reload\n"
        f"  {systemctl} enable --now tinyastd\n"
        f"It restarts when it fails or hangs, reads settings again on `{systemctl} reload "
        "tinyastd`, may write nothing but its state, and publishes at\n"
        f"  ipc://{socket}/publish and ipc://{socket}/replay"
    )


@app.command()
def devices() -> None:
    """List the inputs that a microphone can be: the names to use, channels and rates."""
    from daemon.sources.microphone.devices import list_inputs

    for item in list_inputs():
        default = "  (default)" if item["default"] else ""
        typer.echo(
            f"{item['name']:<40} {item['channels']:>3} channels  {item['rate']:g} Hz{default}"
        )


@app.command()
@takes_settings(*DAEMON)
def doctor(read: ReadSettings) -> None:
    """Check all that `run` with the same options needs, and say how to mend it.

    Exit code 1 if anything fails.
    """
    settings = read()
    from daemon.commands.doctor import FAIL, OK, examine

    failed = False
    for check in examine(settings):
        failed |= check.state == FAIL
        typer.echo(f"{check.state:<5} {check.name:<16} {check.text}")
        if check.state != OK and check.mend:
            typer.echo(f"{'':<5} {'':<16} mend: {check.mend}")
    raise typer.Exit(1 if failed else 0)


def main() -> None:
    """The entry point: errors that are meant for people are printed as one line."""
    try:
        app()
    except (DaemonError, TinyASTError) as error:
        from daemon.monitoring.logging import printable

        print(f"tinyastd: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, DaemonError) else 1)


if __name__ == "__main__":
    main()
