"""Which version of a file is due, given what the ledger knows of its path."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.journal.records import FINISHED, Identity, LedgerRow
from daemon.protocol.messages import digest


@dataclass(frozen=True)
class Claim:
    """One version of a file, to be worked through by one job."""

    path: bytes
    source: str
    identity: Identity
    version: int
    file_id: str
    resume: int = 0  # windows that are committed already
    noticed: float = 0.0  # time.monotonic() when the file was known to be whole
    missing: bool = False  # its header promises bytes that never came
    same_if: LedgerRow | None = None  # not a new version if its content has this row's digest


def is_known(row: LedgerRow | None, identity: Identity) -> bool:
    """Whether the ledger holds the end of just this file, so that it need not be opened."""
    return row is not None and row.state in FINISHED and row.identity == identity


def claim(path: bytes, source: str, identity: Identity, row: LedgerRow | None) -> Claim:
    """The claim on a file that `is_known` does not cover.

    A version begun before a restart is resumed if nothing about it changed. A finished one of
    which only ctime differs (a hard link or chmod; or another file that took its inode, size and
    time) is a new version only if its content differs.
    """
    if row is None:
        return _version(path, source, identity, 1)
    if row.state == "open" and row.identity == identity:
        return Claim(path, source, identity, row.version, row.file_id, resume=row.windows)
    same = row.state in FINISHED and row.identity.same_content(identity) and row.digest is not None
    return _version(path, source, identity, row.version + 1, row if same else None)


def _version(
    path: bytes, source: str, identity: Identity, version: int, same_if: LedgerRow | None = None
) -> Claim:
    file_id = digest(path, identity.inode, identity.size, identity.mtime_ns, version)
    return Claim(path, source, identity, version, file_id, same_if=same_if)
