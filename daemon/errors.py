"""Every error the daemon raises on purpose, each with the exit code it ends in."""

from __future__ import annotations

import errno

# Errors of the system that are the machine's fault, and no file's: what met one is tried again.
MACHINE_FAULTS = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EINTR}


class DaemonError(Exception):
    """Base of all: the text says what is wrong, where, and what to do."""

    exit_code = 1


class SettingsError(DaemonError):
    """Settings that cannot be used."""

    exit_code = 2


class StartError(DaemonError):
    """The daemon cannot start here and now: something is taken, missing or forbidden."""

    exit_code = 3


class JournalError(DaemonError):
    """The journal cannot be opened or written, and waiting will not mend it."""

    exit_code = 3


class JournalDamaged(DaemonError):
    """The journal was found damaged while it was in use; the next start puts it aside."""


class Abandoned(Exception):
    """The daemon stops and the disk takes nothing more; the next start does the work again."""
