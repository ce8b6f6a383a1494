"""Every error the daemon raises on purpose, each with the exit code it ends in."""

from __future__ import annotations

import errno

# errno values that mean a system problem, not a bad file; the operation is retried.
MACHINE_FAULTS = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EINTR}


class DaemonError(Exception):
    """Base class: the text names the fault, its place and the remedy."""

    exit_code = 1


class SettingsError(DaemonError):
    """Settings that cannot be used."""

    exit_code = 2


class StartError(DaemonError):
    """The daemon cannot start now: a resource is taken, missing or forbidden."""

    exit_code = 3


class JournalError(DaemonError):
    """The journal cannot be opened or written, and waiting does not help."""

    exit_code = 3


class JournalDamaged(DaemonError):
    """The journal was found damaged while in use; the next start moves it aside."""


class Abandoned(Exception):
    """The daemon stops while the disk refuses writes; the next start repeats the work."""
