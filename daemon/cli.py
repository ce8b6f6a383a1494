"""`tinyastd`: the command line. Each command reads its options and calls one module."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.batch import classify_options as options
from daemon.commands.mqtt import mqtt
from daemon.commands.notify import notify
from daemon.commands.options import (
    Checkpoint,
    Config,
    Device,
    Engine,
    Insecure,
    Keys,
    Metrics,
    Mic,
    OwnKey,
    PageBeside,
    Publish,
    ReloadOnHup,
    Replay,
    ServerKey,
    State,
    Watch,
    Workers,
    check_paths,
    client_keys,
    read_settings,
)
from daemon.commands.page import page
from daemon.errors import DaemonError, SettingsError
from daemon.host.parent import is_helper, serve_parent
from daemon.monitoring.output import discard_output, flush_output, is_full, open_standard_streams
from tinyast.errors import TinyASTError
from tinyast.threads import one_maths_thread

app = typer.Typer(
    help="Listen to folders and microphones, classify sounds, publish the results over ZeroMQ.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # the other mode takes `[page]` for a colour and leaves it out
)

ANSWER_S = 2.0  # for a daemon on this machine to answer


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
def run(
    context: typer.Context,
    config: Config = None,
    watch: Watch = None,
    state: State = None,
    publish: Publish = None,
    replay: Replay = None,
    engine: Engine = None,
    checkpoint: Checkpoint = None,
    mic: Mic = False,
    device: Device = None,
    workers: Workers = None,
    keys: Keys = None,
    metrics: Metrics = None,
    insecure: Insecure = False,
    page: PageBeside = False,
    reload_on_hup: ReloadOnHup = False,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from daemon.monitoring import logging as logs
    from daemon.settings.schema import Log

    logs.configure(Log())  # for warnings about the settings
    settings = read_settings(context)
    logs.configure(settings.log)
    from daemon.commands.run import announce, check_settings_file, checked_tables
    from daemon.service.lifecycle import Service

    check_settings_file(config, settings)
    with checked_tables(config, settings) as judge:
        Service(settings, partial(read_settings, context), reload_on_hup, judge).run(announce)


@app.command()
def listen(
    context: typer.Context,
    since: Annotated[
        int | None, typer.Option(help="Begin after this seq; 0 replays everything stored.", min=0)
    ] = None,
    since_time: Annotated[
        str | None,
        typer.Option(help="Begin at this time: 14:30, '2026-11-29 14:30', or so long ago: 2h."),
    ] = None,
    topic: Annotated[str, typer.Option(help="Only topics with this prefix.")] = "tinyast.v1.",
    label: Annotated[
        list[str] | None,
        typer.Option(help="Only predictions and events with this label; may be repeated."),
    ] = None,
    accepted: Annotated[
        bool, typer.Option("--accepted", help="Leave out rejected predictions.")
    ] = False,
    by_file: Annotated[
        bool, typer.Option("--by-file", help="One line for each file, with its accepted labels.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print raw JSON messages.")] = False,
    server_key: ServerKey = None,
    own_key: OwnKey = None,
    config: Config = None,
    publish: Publish = None,
    replay: Replay = None,
) -> None:
    """Print messages as they arrive, without a gap; times are local, with their offset from UTC."""
    from daemon.commands.listen import Beginning, listen
    from daemon.commands.listen_filter import Wanted, check_topic, unknown_labels
    from daemon.commands.nearby import with_endpoints
    from tinyast.inference.checkpoint import read_checkpoint

    settings = with_endpoints(read_settings(context))
    check_topic(topic)
    if json and by_file:
        raise SettingsError("--json prints messages as they are; leave out --by-file")
    if label:
        for words in unknown_labels(label, read_checkpoint(settings.checkpoint_path).labels):
            typer.echo(words, err=True)
    beginning = Beginning.read(since, since_time)
    keys = client_keys(server_key, own_key)
    listen(
        settings, keys, topic, beginning, Wanted(frozenset(label or ()), accepted), json, by_file
    )


@app.command()
def classify(
    context: typer.Context,
    paths: options.Sources,
    format: options.Format = None,
    output: options.Output = None,
    on: options.On = None,
    partition: options.PartitionBy = "date",
    overwrite: options.Overwrite = False,
    formats: options.Formats = None,
    join: options.Join = False,
    embeddings: options.Embeddings = None,
    segments: options.Segments = None,
    least: options.Least = 0.0,
    most: options.Most = 1.0,
    per_label: options.PerLabel = None,
    config: Config = None,
    engine: Engine = None,
    checkpoint: Checkpoint = None,
    workers: Workers = None,
) -> None:
    """Classify files and folders once, without a daemon. Exit code 1 if any file failed."""
    check_paths(paths)
    settings = read_settings(context)
    if on is not None:
        only = {"--join": join, "--segments": segments, "--per-label": per_label}
        options.check_cluster_options(format, embeddings, only)
        from daemon.cluster.command import run_on_cluster

        embeds = embeddings is not None
        failed = run_on_cluster(settings, on, paths, output, formats, partition, embeds, overwrite)
        raise typer.Exit(1 if failed else 0)
    from daemon.commands.batch.classify import run_batch
    from daemon.commands.batch.classify_sinks import Extras

    summary = output is not None or sys.stderr.isatty()
    extras = Extras(join, embeddings, segments, least, most, per_label, summary)
    target = None if output is None else Path(output)
    failed = run_batch(settings, [*map(Path, paths)], format, target, overwrite, formats, extras)
    raise typer.Exit(1 if failed else 0)


@app.command()
def learn(
    context: typer.Context,
    clips: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="A sub-folder of clips for each kind, or a CSV."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the new checkpoint.")],
    only_mine: Annotated[
        bool, typer.Option("--only-mine", help="Drop the kinds that the checkpoint knows already.")
    ] = False,
    precision: Annotated[
        float, typer.Option(help="Share of right labels that each kind's threshold aims at.")
    ] = 0.9,
    fine_tune: Annotated[
        bool,
        typer.Option(
            "--fine-tune",
            help="Train all of the model, for minutes to hours; needs the extra `train`.",
        ),
    ] = False,
    config: Config = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Teach a checkpoint new kinds of sound, from 5 to 30 clips of each.

    A sub-folder `none` holds background and other sounds. See docs/own-sounds.md.
    """
    settings = read_settings(context)
    from daemon.commands.batch import fine_tune as tuning
    from daemon.commands.batch.learn import learn

    lines = (
        tuning.fine_tune(settings, clips, output, only_mine)
        if fine_tune
        else learn(settings, clips, output, only_mine, precision)
    )
    for line in lines:
        typer.echo(line)
    typer.echo(f"wrote {output}; its README.md has all figures")
    typer.echo(f"Next: tinyastd run --checkpoint {output}")


@app.command()
def similar(
    context: typer.Context,
    clip: Annotated[Path, typer.Argument(help="A clip, or a folder of clips of one kind.")],
    paths: Annotated[
        list[Path],
        typer.Argument(help="Recordings, folders, and tables by `classify --embeddings`."),
    ],
    count: Annotated[int, typer.Option(help="Windows to list.", min=1)] = 20,
    hop: Annotated[float, typer.Option(help="Seconds from one window to the next.", min=0.1)] = 2.5,
    config: Config = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Find the windows that sound most like a clip, as CSV, the best first."""
    settings = read_settings(context)
    from daemon.commands.batch.similar import similar, table

    typer.echo(table(similar(settings, clip, paths, count, hop)), nl=False)


@app.command()
def labels(context: typer.Context, config: Config = None, checkpoint: Checkpoint = None) -> None:
    """List the kinds of sound that the checkpoint knows."""
    settings = read_settings(context)
    from tinyast.inference.checkpoint import read_checkpoint

    for label in read_checkpoint(settings.checkpoint_path).labels:
        typer.echo(label)


@app.command()
def reprocess(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders in a watched folder.")],
    server_key: ServerKey = None,
    own_key: OwnKey = None,
    config: Config = None,
    watch: Watch = None,
    state: State = None,
    publish: Publish = None,
    replay: Replay = None,
) -> None:
    """Discard earlier results for these files and classify them again.

    The running daemon says which folders it watches; --config, --watch and --state go before it.
    """
    settings = read_settings(context)
    from daemon.commands.batch.reprocess import reprocess

    named = any(each is not None for each in (config, watch, state))
    asked = reprocess(settings, paths, client_keys(server_key, own_key), named)
    when = "now" if asked.running else "now, or at its next start"
    typer.echo(f"{asked.files} files: the daemon classifies them again {when}")


@app.command()
def backup(
    context: typer.Context,
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="New file to write it to.")],
    config: Config = None,
    state: State = None,
) -> None:
    """Copy the journal of messages and files; the daemon may be running."""
    from daemon.journal.backup import backup

    newest = backup(read_settings(context).state_path, copy)
    typer.echo(f"wrote {copy}: everything up to seq {newest}")


@app.command()
def restore(
    context: typer.Context,
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="File made by `backup`.")],
    config: Config = None,
    state: State = None,
) -> None:
    """Restore a copy of the journal; stop the daemon first.

    The daemon then classifies again each file that it classified after the backup.
    """
    from daemon.journal.backup import restore

    newest, aside = restore(copy, read_settings(context).state_path)
    typer.echo(
        f"restored up to seq {newest}, as a new journal: subscribers read it from its start"
        + (f"\nThe earlier journal is now {aside}" if aside else "")
    )


@app.command()
def status(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    server_key: ServerKey = None,
    own_key: OwnKey = None,
    config: Config = None,
    publish: Publish = None,
    replay: Replay = None,
) -> None:
    """Show the running daemon's status. Exit code 1 if no daemon answers."""
    import msgspec

    from daemon.client import NoAnswer, ask_status
    from daemon.commands.nearby import how_to_start, with_endpoints
    from daemon.commands.status import describe
    from daemon.protocol.states import DaemonStatus

    settings = with_endpoints(read_settings(context))
    try:
        answer = ask_status(settings.replay, client_keys(server_key, own_key), ANSWER_S)
    except NoAnswer as error:
        raise DaemonError(f"{error}; {how_to_start()}") from error
    if json:
        typer.echo(msgspec.json.encode(answer).decode())
        return
    try:
        typer.echo(describe(msgspec.convert(answer, DaemonStatus)))
    except msgspec.ValidationError as error:
        raise DaemonError(
            f"the daemon is of another version, and its status is not understood ({error}); "
            "use --json"
        ) from error


@app.command()
def keygen(
    dir: Annotated[str, typer.Argument(metavar="DIR", help="Key directory of the daemon.")],
    client: Annotated[
        str | None,
        typer.Option(help="Make a key for this subscriber and let it connect."),
    ] = None,
) -> None:
    """Make keys, so that only your own subscribers can connect."""
    from daemon.protocol.keys import make_client, make_server

    check_paths([dir])
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


@app.command("install-service")
def install_service(
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings of the service, written if they are not there; "
            "/etc/tinyast/tinyast.toml, or with --user ~/.config/tinyast/tinyast.toml."
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            help="Folder in new settings; /var/spool/tinyast, or with --user ~/tinyast-recordings."
        ),
    ] = None,
    user: Annotated[bool, typer.Option("--user", help="For this user only.")] = False,
    show: Annotated[bool, typer.Option("--print", help="Only print the unit.")] = False,
) -> None:
    """Write a systemd unit for this installation, and settings, and show how to start it."""
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


@app.command()
def devices() -> None:
    """List the audio inputs: names, channels and rates."""
    from daemon.sources.microphone.devices import list_inputs

    for item in list_inputs():
        default = "  (default)" if item.default else ""
        typer.echo(f"{item.name:<40} {item.channels:>3} channels  {item.rate:g} Hz{default}")


@app.command()
def doctor(
    context: typer.Context,
    config: Config = None,
    watch: Watch = None,
    state: State = None,
    publish: Publish = None,
    replay: Replay = None,
    engine: Engine = None,
    checkpoint: Checkpoint = None,
    mic: Mic = False,
    device: Device = None,
    workers: Workers = None,
    keys: Keys = None,
    metrics: Metrics = None,
    insecure: Insecure = False,
    page: PageBeside = False,
) -> None:
    """Check prerequisites of `run` with the same options and suggest fixes.

    Exit code 1 if anything fails.
    """
    settings = read_settings(context)
    from daemon.commands.checks.check import FAIL, OK
    from daemon.commands.doctor import examine

    failed = False
    for check in examine(settings, config):
        failed |= check.state == FAIL
        typer.echo(f"{check.state:<5} {check.name:<16} {check.text}")
        if check.state != OK and check.fix:
            typer.echo(f"{'':<5} {'':<16} fix: {check.fix}")
    raise typer.Exit(1 if failed else 0)


app.command()(page)
app.command()(mqtt)
app.command()(notify)


def main() -> None:
    """The entry point: print errors meant for people as one line."""
    open_standard_streams()
    one_maths_thread()
    serve_parent()
    try:
        try:
            app()
        finally:
            flush_output()
    except (DaemonError, TinyASTError) as error:
        from daemon.monitoring.shortage import remedy

        _say(f"{error}{remedy(error)}")
        # The others are about a checkpoint or clips that the command line or the settings name.
        sys.exit(error.exit_code if isinstance(error, DaemonError) else SettingsError.exit_code)
    except BrokenPipeError:  # the reader has seen enough
        sys.exit(1)
    except OSError as error:
        if not is_full(error):
            raise
        discard_output()
        _say(f"cannot write {error.filename or 'the output'}: {error.strerror}")
        sys.exit(1)


def _say(text: str) -> None:
    from daemon.monitoring.logging import printable

    if is_helper():
        print(printable(text), flush=True)  # for the daemon to log and publish
    else:
        print(f"tinyastd: {printable(text)}", file=sys.stderr)


if __name__ == "__main__":
    main()
