"""The commands that run the daemon, or ask whether it could run."""

from __future__ import annotations

from functools import partial

import typer

from daemon.commands.options import (
    Checkpoint,
    Config,
    Device,
    Engine,
    Insecure,
    Keys,
    Metrics,
    Mic,
    PageBeside,
    Publish,
    ReloadOnHup,
    Replay,
    State,
    Watch,
    Workers,
    read_settings,
)


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
    """Check whether `run` would work with the same options, and suggest fixes.

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
