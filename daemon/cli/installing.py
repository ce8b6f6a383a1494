"""The commands that prepare a machine: its service, keys and microphones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def keygen(
    dir: Annotated[str, typer.Argument(metavar="DIR", help="Key directory of the daemon.")],
    client: Annotated[
        str | None,
        typer.Option(help="Make a key for this subscriber and let it connect."),
    ] = None,
) -> None:
    """Make keys, so that only your own subscribers can connect."""
    from daemon.protocol.keys import make_client, make_server

    folder = Path(dir)
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
        f"{client} can connect from now on ({public}); remove that file to shut it out\n"
        f"Next: copy {secret} and {folder / 'server.key'} to the subscriber, then delete "
        f"{secret.name} here: `tinyastd listen --own-key {secret.name} --server-key server.key`"
    )


def install_service(
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings of the service, written if there are none; default: "
            "/etc/tinyast/tinyast.toml, or with --user ~/.config/tinyast/tinyast.toml."
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            help="Folder in new settings; default: /var/spool/tinyast, or with --user "
            "~/tinyast-recordings."
        ),
    ] = None,
    user: Annotated[bool, typer.Option("--user", help="Install for this user only.")] = False,
    show: Annotated[bool, typer.Option("--print", help="Only print the unit.")] = False,
) -> None:
    """Write a systemd unit and settings for this installation, and show how to start it."""
    from daemon.commands.install_service import install, render

    if show:
        typer.echo(render(config, user), nl=False)
        return
    service = install(config, user, watch)
    systemctl = service.systemctl
    socket = "$XDG_RUNTIME_DIR/tinyast" if user else "/run/tinyast"
    watched = f"watching {', '.join(service.folders) or 'no folder'}"
    typer.echo(
        f"wrote {service.unit}\n"
        f"{'wrote' if service.settings_written else 'kept'} {service.settings}, {watched}\n"
        f"Next:\n"
        f"  {systemctl} daemon-reload\n"
        f"  {systemctl} enable --now tinyastd\n"
        + ("  loginctl enable-linger   # keeps it running after you log out\n" if user else "")
        + f"  tinyastd listen          # finds it{'' if user else '; as root'}\n"
        f"It restarts when it fails or hangs, reads settings again on `{systemctl} reload "
        "tinyastd`, may write nothing but its state, and publishes at\n"
        f"  ipc://{socket}/publish and ipc://{socket}/replay"
    )
    for warning in service.warnings:
        typer.echo(f"warning: {warning}", err=True)


def devices() -> None:
    """List the audio inputs: names, channels and rates."""
    from daemon.sources.microphone.devices import list_inputs

    for item in list_inputs():
        default = "  (default)" if item.default else ""
        typer.echo(f"{item.name:<40} {item.channels:>3} channels  {item.rate:g} Hz{default}")
