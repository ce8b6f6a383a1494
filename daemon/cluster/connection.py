"""Connect to a Ray cluster, or start one on this machine. Keeps Ray quiet."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from daemon.errors import DaemonError, SettingsError, StartError
from tinyast.threads import LIMITS

HERE = "ray"
SCHEME = "ray://"
ANSWER_S = 5.0
TRIES = 3
OBJECTS = 100 << 20  # bytes of shared memory: only numbers of parts pass through it
TOKEN = Path(".ray/auth_token")  # in the home directory, where Ray's own commands keep it


class ClusterError(DaemonError):
    """The cluster, or a process of it, failed."""


def check_on(on: str) -> None:
    """Raise SettingsError if `on` names no cluster, or the extra is missing."""
    if on != HERE and not (on.startswith(SCHEME) and on.removeprefix(SCHEME).count(":") == 1):
        raise SettingsError(
            f"--on {on} is not a cluster: `ray` starts one here, ray://HOST:PORT names the "
            "client port of another (10001)"
        )
    missing = [name for name in ("ray", "pandas", "pyarrow") if find_spec(name) is None]
    if missing:
        raise SettingsError(f"--on needs {missing[0]}: pip install 'tinyast[cluster]'")


@contextmanager
def connected(on: str, actors: int) -> Iterator[bool]:
    """Within it, ray works on that cluster; `actors` is the number of processors of one started.

    `ray` means the cluster that RAY_ADDRESS names, if it does: so it is in a job that
    `ray job submit` started. Gives whether this process is outside the cluster, connected by Ray's
    client. Raises StartError.
    """
    address = on if on != HERE else os.environ.get("RAY_ADDRESS", "local")
    if address == on:
        _check_answers(on)
    _prepare(address)
    with _without_stderr():
        import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    limits = {name: os.environ.get(name, "1") for name in LIMITS}
    options: dict[str, object] = {"runtime_env": {"env_vars": limits}}
    if address == "local":
        options = {
            "num_cpus": actors,
            "include_dashboard": False,
            "object_store_memory": OBJECTS,
        }
    for attempt in range(1, TRIES + 1):
        try:
            with _without_stderr():
                ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
            break
        except (RuntimeError, OSError, ValueError, ray.exceptions.RayError) as error:
            # A busy head may need longer than Ray waits to start a process for its client.
            if attempt == TRIES or not isinstance(error, ConnectionAbortedError):
                raise StartError(f"cannot use {on}: {_reason(error)}") from error
    try:
        yield address == on
    finally:
        ray.shutdown()


def _check_answers(on: str) -> None:
    """Raise StartError if no machine listens there; Ray would try for half a minute."""
    host, _, port = on.removeprefix(SCHEME).rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise StartError(f"cannot use {on}: {error}; check host and port (10001)") from error


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Ray's library says at the start that it will be quiet."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _prepare(address: str) -> None:
    """Set the variables that Ray reads when it is imported or starts processes."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
    if "RAY_AUTH_MODE" in os.environ:
        return
    if address == "local":
        # As without a cluster; Ray's own default yields to everything else on the machine.
        os.environ.setdefault("RAY_worker_niceness", "0")
        # Otherwise anyone who can reach the ports could run code; this token leaves no file.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif "RAY_AUTH_TOKEN" in os.environ or (Path.home() / TOKEN).exists():
        os.environ["RAY_AUTH_MODE"] = "token"


def _reason(error: Exception) -> str:
    """Why a connection failed, in one line with a remedy."""
    text = str(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), repr(error))
    lower = text.lower()
    if "version mismatch" in lower or "python minor versions" in lower:
        words = " ".join(text.split())
        return f"{words[:300]}; use the same Python and Ray as the cluster"
    if "timeout" in lower or "timed out" in lower or "unreachable" in lower:
        return (
            f"{first}: it does not answer; check host and port (10001, the client's), and that "
            "this machine has the cluster's token (`ray get-auth-token`)"
        )
    return first


def processors() -> int:
    """The processors of the cluster."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))
