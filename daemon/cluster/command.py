"""`tinyastd classify --on …`: from options to a job, and its progress to people."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from msgspec.structs import replace

import tinyast
from daemon.cluster.classifying import RANKS
from daemon.cluster.connection import HERE, check_on, connected, processors
from daemon.cluster.driver import work, work_there
from daemon.cluster.entries import is_remote
from daemon.cluster.job import Job, JobIdentity
from daemon.cluster.listing import LIST, check_sources
from daemon.cluster.plan import Partition
from daemon.cluster.progress import Progress
from daemon.commands.batch.classify import Batch
from daemon.commands.batch.finding import folder_settings
from daemon.errors import SettingsError
from daemon.monitoring.signals import raise_on_ctrl_c
from daemon.service.engine_choice import choose_engine
from daemon.settings.schema import Settings


def run_on_cluster(
    settings: Settings,
    on: str,
    sources: Sequence[str],
    output: str | None,
    formats: str | None,
    partition: Partition,
    embeddings: bool,
    overwrite: bool,
) -> int:
    """Classify everything on a cluster; the number of files that failed.

    Raises SettingsError, StartError, ClusterError, StorageError.
    """
    check_on(on)
    if output is None:
        raise SettingsError("--on writes a folder of Parquet files: name it with --output")
    if on == HERE:  # another cluster's paths are not here
        check_sources(sources)
    job, batch = job_of(settings, sources, output, formats, partition, embeddings)
    raise_on_ctrl_c()
    progress = Progress()
    left_out: tuple[str, ...] = ()
    with connected(on, settings.worker_count) as is_elsewhere:
        run = work_there if is_elsewhere else work
        actors = settings.workers or processors()
        for report in run(job, job.cut(batch), actors, overwrite):
            if report.is_again and not progress.parts:
                print(f"resuming the job in {job.place}", file=sys.stderr)
            progress.add(report.summary)
            progress.say(report.listed, report.is_all)
            left_out = report.left_out
    print(progress.summary(), file=sys.stderr)
    for words in left_out:
        print(words, file=sys.stderr)
    return progress.errors.total()


def job_of(
    settings: Settings,
    sources: Sequence[str],
    output: str,
    formats: str | None,
    partition: Partition,
    embeddings: bool,
) -> tuple[Job, Batch]:
    """The job, and its model as this machine has it. Raises SettingsError, CheckpointError."""
    engine = choose_engine(settings).engine  # once for all machines
    folder = replace(folder_settings(settings, formats), path=".")
    settings = replace(settings, engine=engine, workers=1, top=max(RANKS, settings.top))
    batch = Batch.load(settings, folder, embeddings)
    identity = JobIdentity(
        sources=tuple(map(_whole, sources)),
        partition=partition,
        embeddings=embeddings,
        model=batch.classifier.checkpoint.model,
        model_sha256=batch.classifier.engine.sha256,
        engine=engine,
        hop=settings.audio.hop,
        max_duration=settings.audio.max_duration,
        decision=settings.decision,
        privacy=settings.privacy,
        folder=folder,
    )
    return Job(
        settings=settings, identity=identity, output=_whole(output), version=tinyast.__version__
    ), batch


def _whole(source: str) -> str:
    """A source or an output as it is known from every folder."""
    if is_remote(source):
        return source
    if source.startswith(LIST):
        return LIST + os.path.abspath(source.removeprefix(LIST))
    return os.path.abspath(source.removeprefix("file://"))
