"""Folders and buckets: pyarrow's file systems, and files that appear whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from daemon.cluster.entries import is_remote
from daemon.errors import DaemonError, SettingsError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

SCHEMES = ("s3", "gs", "gcs")  # whose paths are a bucket and a key
TIMEOUT_S = 60.0  # without a byte; pyarrow's own 3 s break off slow but working stores
CONNECT_S = 10.0


class StorageError(DaemonError):
    """A folder or bucket cannot be listed, read or written."""


@dataclass(frozen=True)
class Place:
    """A folder or a prefix of keys; `str` of it is its address without options."""

    files: FileSystem
    path: str
    scheme: str  # empty for this machine's file systems

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}" if self.scheme else self.path

    def at(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes | None:
        """A small file; None if it is not there. Raises StorageError."""
        try:
            with self.files.open_input_file(self.at(name)) as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._fault("read", error) from error

    def names(self, folder: str) -> list[str]:
        """The names of the files in a sub-folder, which may be missing. Raises StorageError."""
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self.at(folder), allow_not_found=True)
        try:
            found = self.files.get_file_info(selector)
        except OSError as error:
            raise self._fault("list", error) from error
        return sorted(each.base_name for each in found if each.type == FileType.File)

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is there as a whole once it is there. Raises StorageError.

        On this machine's file systems it is renamed into its place; an object store shows an
        object when all of it has come.
        """
        try:
            if not self.scheme:
                _write_and_rename(self.at(name), data)
                return
            with self.files.open_output_stream(self.at(name)) as out:
                out.write(data)
        except OSError as error:
            raise self._fault("write to", error) from error

    def _fault(self, what: str, error: OSError) -> StorageError:
        return StorageError(f"cannot {what} {self}: {words(error)}")


def _write_and_rename(path: str, data: bytes) -> None:
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    # Readers of Parquet skip names that begin with a dot.
    private = os.path.join(folder, f".{name}.{os.uname().nodename}.{os.getpid()}")
    try:
        with open(private, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.rename(private, path)
    except OSError:
        if os.path.exists(private):
            os.unlink(private)
        raise


def place(address: str) -> Place:
    """The place of a path or address. Raises SettingsError for one that cannot be used."""
    from pyarrow.fs import LocalFileSystem

    if not is_remote(address):
        return Place(LocalFileSystem(), os.path.abspath(address.removeprefix("file://")), "")
    scheme, bucket, path, options, _ = urlsplit(address)
    if scheme not in SCHEMES or not bucket:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise SettingsError(
            f"{address} is not an address of a store; known are {known} and file://"
        )
    return Place(_store(scheme, bucket, options), f"{bucket}{path}".rstrip("/"), scheme)


@lru_cache(maxsize=64)
def _store(scheme: str, bucket: str, options: str) -> FileSystem:
    import pyarrow
    from pyarrow.fs import FileSystem, S3FileSystem

    address = f"{scheme}://{bucket}" + (f"?{options}" if options else "")
    try:
        files, _ = FileSystem.from_uri(address)
    except (OSError, pyarrow.ArrowException) as error:
        raise SettingsError(f"cannot use {scheme}://{bucket}: {words(error)}") from error
    if isinstance(files, S3FileSystem):
        # Its options are known only by the way in which it is pickled.
        (given,) = files.__reduce__()[1]
        return S3FileSystem(**given | {"request_timeout": TIMEOUT_S, "connect_timeout": CONNECT_S})
    return files


def words(error: Exception) -> str:
    """An error of a store in short: pyarrow's words, without the number of the request."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).partition(" (Request ID")[0].split())
