"""Take what only one daemon may hold, before any of its threads runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from msgspec import Struct

from daemon.delivery.endpoints import Endpoints, bind
from daemon.errors import StartError, words_for
from daemon.host.locks import Lock, lock_path
from daemon.host.trust import check_private_tree
from daemon.journal.crashes import WorkMarks
from daemon.journal.writer import Journal
from daemon.monitoring.shortage import crash_explained, require_descriptors
from daemon.monitoring.status import RunIdentity
from daemon.pipeline.recording_time import zone
from daemon.protocol.keys import load_server
from daemon.service.loaded_model import LoadedModel, load_model
from daemon.settings.paths import may_be_folder
from daemon.settings.schema import Settings
from tinyast.audio.compressed import ffmpeg
from tinyast.inference.allocator import give_back_freed_memory, keep_freed_memory

OnFault = Callable[[BaseException], None]


class Held(Struct, frozen=True):
    """The exclusive resources of a daemon, taken before any thread runs."""

    state: Path
    model: LoadedModel
    endpoints: Endpoints
    journal: Journal
    marks: WorkMarks

    def identify(self, settings: Settings, run_id: str) -> RunIdentity:
        """The daemon that holds them."""
        return RunIdentity(
            settings.node,
            run_id,
            self.journal.uuid,
            self.endpoints.publisher.address,
            self.endpoints.router.address,
            str(self.state),
            self.model.described,
            settings.worker_count,
        )


def hold(stack: ExitStack, settings: Settings, run_id: str, on_fault: OnFault) -> Held:
    """Take the state directory, the endpoints and the journal; `stack` releases them.

    Raises DaemonError.
    """
    require_descriptors()
    keep_freed_memory(settings.worker_count)
    _check_folders_exist(settings)
    state = _make_state(settings.state_path)
    lock = Lock(lock_path(state), f"state directory {state}", folder=True)
    stack.callback(lock.release)
    with crash_explained("ONNX Runtime, which reads /sys/devices/system/cpu, cannot start"):
        model = load_model(settings)
    keys = None if settings.keys_path is None else load_server(settings.keys_path)
    endpoints = stack.enter_context(
        bind(settings.publish, settings.replay, settings.insecure, keys, on_fault, state)
    )
    give_back_freed_memory()
    journal = stack.enter_context(closing(Journal(state, settings.node, run_id)))
    marks = stack.enter_context(closing(WorkMarks(state, settings.worker_count + 1)))
    return Held(state, model, endpoints, journal, marks)


def _check_folders_exist(settings: Settings) -> None:
    for folder in settings.folder:
        zone(folder.time_zone)
        try:
            found = may_be_folder(folder.path)
        except PermissionError as error:
            raise StartError(f"cannot watch {folder.path}: {error.strerror}") from error
        if not found:
            if os.path.isfile(folder.path):
                raise StartError(f"{folder.path} is a file; name its folder")
            raise StartError(
                f"there is no folder {folder.path} to watch; make it, or name another with --watch"
            )
        if needing := ffmpeg.missing_for(folder.formats):
            raise StartError(
                f"`formats` of folder `{folder.name}` names {needing}, which needs ffmpeg; install "
                "it, or leave this format out"
            )


def _make_state(state: Path) -> Path:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"cannot make the state directory {state}: {words_for(error, state)} (--state)"
        ) from error
    check_private_tree(state, "the state")
    return state
