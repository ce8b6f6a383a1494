"""`tinyastd doctor`: check the prerequisites of these settings, and suggest fixes."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

import daemon
from daemon.client import NoAnswer, ask_status
from daemon.commands.checks.check import FAIL, OK, WARN, Check
from daemon.commands.checks.subscribers import check_mqtt, check_notify, check_page
from daemon.commands.doctor_trust import daemon_user, exposures
from daemon.commands.status import level
from daemon.delivery.endpoints import bind
from daemon.errors import DaemonError
from daemon.host.locks import holder, lock_path
from daemon.host.mounts import is_remote
from daemon.host.tcp import holder_of_port
from daemon.journal.files import journal_path
from daemon.journal.reader import check_journal
from daemon.pipeline.recording_time import zone
from daemon.protocol.keys import load_server
from daemon.service.engine_choice import choose_engine
from daemon.service.loaded_model import check_suits
from daemon.settings.schema import Folder, Microphone, Settings, Stream
from daemon.sources.folder.disposal import Disposal
from daemon.sources.microphone.devices import record
from tinyast.audio.compressed import ffmpeg
from tinyast.classifier import Classifier
from tinyast.errors import TinyASTError
from tinyast.inference.checkpoint import damaged_files

LOW_DISK = 200_000_000  # bytes
INOTIFY = Path("/proc/sys/fs/inotify")


def examine(settings: Settings, config: Path | None = None) -> Iterator[Check]:
    """Run all checks, in the order of a daemon's start. `config` is the file of the settings."""
    yield package_clash()
    yield from check_trust(settings, config)
    for folder in settings.folder:
        yield check_folder(folder)
    for live in settings.live:
        yield check_live(live)
    yield check_watches()
    yield check_state(settings.state_path)
    yield check_disk(settings.state_path)
    yield check_model(settings)
    yield check_audio(settings)
    running = _running(settings)
    yield check_endpoints(settings, running)
    if settings.metrics:
        yield check_metrics(settings, running)
    if settings.page is not None:
        yield from check_page(settings.page, settings)
    if settings.mqtt is not None:
        yield from check_mqtt(settings.mqtt, settings)
    for number, rule in enumerate(settings.notify, 1):
        yield from check_notify(rule, number)


def package_clash() -> Check:
    """PyPI's python-daemon also installs a package `daemon`, and pip overwrites ours silently."""
    here = Path(daemon.__file__).parent
    foreign = [name for name in ("daemon.py", "pidfile.py", "runner.py") if (here / name).exists()]
    try:
        metadata.distribution("python-daemon")
    except metadata.PackageNotFoundError:
        if not foreign:
            return Check("packages", OK, "no other package claims the name `daemon`")
    return Check(
        "packages",
        FAIL,
        "the package python-daemon is installed here and overwrites tinyast's `daemon`",
        "install tinyast into a separate virtual environment: python3 -m venv …",
    )


def check_trust(settings: Settings, config: Path | None) -> Iterator[Check]:
    """One failure for each path that others can change; `run` refuses them too."""
    user = daemon_user(settings.state_path)
    found = list(exposures(settings, config, user))
    for each in found:
        yield Check("trust", FAIL, each.text, each.fix)
    if not found:
        users = "root" if user.uid == 0 else f"root and user {user.uid}"
        yield Check(
            "trust", OK, f"only {users} can change the settings, state, keys, sockets and model"
        )


def check_folder(folder: Folder) -> Check:
    name = f"folder {folder.name}"
    if os.path.isfile(folder.path):
        return Check(name, FAIL, f"{folder.path} is a file", "name its folder")
    if not os.path.isdir(folder.path):
        return Check(name, FAIL, f"{folder.path} does not exist", f"mkdir -p {folder.path}")
    if not os.access(folder.path, os.R_OK | os.X_OK):
        return Check(
            name,
            FAIL,
            f"{folder.path} cannot be read",
            "give this user permission to read and search it",
        )
    if folder.after != "keep" and not os.access(folder.path, os.W_OK):
        return Check(
            name,
            FAIL,
            f"{folder.path} cannot be written, which `after = {folder.after!r}` needs",
            'give this user permission to write, or set `after = "keep"`',
        )
    if problem := Disposal(folder).check():
        return Check(name, FAIL, problem, "make done/ and failed/ folders, or remove them")
    try:
        zone(folder.time_zone)
    except DaemonError as error:
        return Check(name, FAIL, str(error), "see the list in /usr/share/zoneinfo")
    if is_remote(os.fsencode(folder.path)):
        text = f"{folder.path} is a network file system: scanned every {folder.poll:g} s"
        return Check(name, WARN, text, "watch a local folder to notice files at once")
    return Check(name, OK, f"{folder.path} can be watched")


def check_live(settings: Microphone | Stream) -> Check:
    """Record a second and report its level."""
    streams = isinstance(settings, Stream)
    name = f"{'stream' if streams else 'mic'} {settings.name}"
    try:
        sample = record(settings)
    except DaemonError as error:
        if streams:
            text = f"{settings.device}: {error}"
            return Check(name, FAIL, text, "check whether `ffplay` plays the URL on this machine")
        return Check(name, FAIL, str(error), "`tinyastd devices` lists the inputs")
    text = f"`{sample.device}` at {sample.rate} Hz, {level(sample.level_dbfs)}"
    if sample.zeros:
        return Check(name, WARN, text, "unmute it, and allow this user to record")
    if sample.clipped > 0.001:
        return Check(
            name, WARN, f"{text}: {sample.clipped:.1%} of samples clip", "turn the gain down"
        )
    return Check(name, OK, text)


def check_watches() -> Check:
    try:
        watches = int((INOTIFY / "max_user_watches").read_text())
        instances = int((INOTIFY / "max_user_instances").read_text())
    except (OSError, ValueError):
        return Check("file events", WARN, "no inotify here; folders are scanned instead")
    if instances < 16 or watches < 1_000:
        return Check(
            "file events",
            WARN,
            f"the system allows only {watches} inotify watches and {instances} instances",
            "sysctl fs.inotify.max_user_watches=65536 fs.inotify.max_user_instances=128",
        )
    return Check("file events", OK, f"{watches} inotify watches, {instances} instances")


def check_state(state: Path) -> Check:
    # Do not create it here: it would belong to this user, and the daemon may run as another.
    there = next(path for path in (state, *state.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Check(
            "state",
            FAIL,
            f"{state} cannot be written: {there}: {error.strerror}",
            "use another --state, or give this user permission to write there",
        )
    if not journal_path(state).exists():
        return Check("state", OK, f"{state} can be written; there is no journal yet")
    try:
        check_journal(state)
    except DaemonError as error:
        return Check(
            "state",
            FAIL,
            str(error),
            "the next start moves a damaged journal aside; a newer one needs a newer tinyastd",
        )
    return Check("state", OK, f"{state} holds a readable journal")


def check_disk(state: Path) -> Check:
    existing = next(path for path in (state, *state.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:.1f} GB free where the journal is"
    if free < LOW_DISK:
        return Check("disk", FAIL, text, "free some space: the daemon waits while it cannot write")
    return Check("disk", OK, text)


def check_model(settings: Settings) -> Check:
    try:
        choice = choose_engine(settings)
        classifier = Classifier.load(settings.checkpoint_path, choice.engine)
        if damaged := damaged_files(classifier.checkpoint.path):
            return Check(
                "model",
                FAIL,
                f"changed since export: {', '.join(damaged)} in {classifier.checkpoint.path}",
                "reinstall tinyast, or export the checkpoint again",
            )
        check_suits(settings, classifier)
        noise = np.random.default_rng(0).normal(0, 0.1, 5 * 44_100).astype(np.float32)
        classifier.scores(noise, 44_100)
        begin = time.perf_counter()
        classifier.scores(noise, 44_100)
        took = 1000 * (time.perf_counter() - begin)
    except (TinyASTError, DaemonError) as error:
        return Check("model", FAIL, str(error), "correct `checkpoint`, `engine` or the labels")
    model = classifier.checkpoint
    return Check(
        "model",
        OK,
        f"{model.name} {model.version} ({classifier.engine.sha256[:12]}, {choice.engine}), "
        f"{len(model.labels)} labels; 5 s of sound take {took:.1f} ms",
    )


def check_audio(settings: Settings) -> Check:
    wanted = {name for folder in settings.folder for name in folder.formats}
    try:
        import soundfile
        import soxr
    except (ImportError, OSError) as error:
        return Check(
            "audio", FAIL, f"an audio library is missing: {error}", "pip install soundfile soxr"
        )
    if needing := ffmpeg.missing_for(wanted):
        return Check("audio", FAIL, f"{needing} needs ffmpeg, which is missing", "install ffmpeg")
    can = {name.lower() for name in soundfile.available_formats()} | {"wav", *ffmpeg.DEMUXERS}
    can |= {"opus"} if "ogg" in can else set()
    if missing := sorted(wanted - can):
        return Check(
            "audio",
            FAIL,
            f"this libsndfile ({soundfile.__libsndfile_version__}) cannot read {missing}",
            "install a newer libsndfile, or leave these out of `formats`",
        )
    return Check(
        "audio",
        OK,
        f"libsndfile {soundfile.__libsndfile_version__}, soxr {soxr.__version__}; "
        f"reads {', '.join(sorted(wanted))}",
    )


def check_endpoints(settings: Settings, running: Running | None) -> Check:
    if running is not None and running.ours:
        return Check("endpoints", OK, running.text)
    if running is not None:
        return Check("endpoints", WARN, running.text, running.fix)
    try:
        keys = None if settings.keys_path is None else load_server(settings.keys_path)
        with bind(settings.publish, settings.replay, settings.insecure, keys):
            pass
    except DaemonError as error:
        return Check("endpoints", FAIL, str(error), "free it, or choose another endpoint")
    return Check("endpoints", OK, f"{settings.publish} and {settings.replay} are free")


def check_metrics(settings: Settings, running: Running | None) -> Check:
    from daemon.monitoring.http import parse_address

    try:
        host, port = parse_address(settings.metrics, settings.insecure)
    except DaemonError as error:
        return Check("metrics", FAIL, str(error), "use an address such as 127.0.0.1:9100")
    if running is not None and running.ours:
        return Check("metrics", OK, running.text)
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        text = f"{settings.metrics} is taken ({error.strerror}): {holder_of_port(port)}"
        return Check("metrics", FAIL, text, "stop that process, or name another address")
    return Check("metrics", OK, f"http://{settings.metrics} is free")


@dataclass(frozen=True)
class Running:
    """A daemon that runs already."""

    text: str
    ours: bool  # it has the state directory of these settings
    fix: str = ""


def _running(settings: Settings) -> Running | None:
    """The daemon that already runs with these settings, or at their endpoints; None without one."""
    if settings.keys:  # it would not answer a client without a key
        pid = holder(lock_path(settings.state_path))
        return Running(f"a daemon already runs here (process {pid})", True) if pid else None
    try:
        answer = ask_status(settings.replay, timeout=0.5)
    except NoAnswer:
        return None
    pid, state = answer["pid"], answer["state"]
    if state == str(settings.state_path):
        return Running(f"a daemon already runs here (process {pid}) and answers at both", True)
    return Running(
        f"another daemon answers there (process {pid}, state directory {state})",
        False,
        f"to check that one, add --state {state}; a second one needs other endpoints",
    )
