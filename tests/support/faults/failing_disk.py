"""A file system that fails on command: FUSE over a folder, run in a separate process.

    with FailingDisk(tmp_path) as disk:
        (disk.source / "a.wav").write_bytes(sound)  # appears in disk.mount
        disk.fail("read", "EIO", names="bad", start=65_536)
        disk.works()

`python failing_disk.py SOURCE MOUNT CONTROL` is that process; CONTROL is a JSON file with a list of
rules, read at each call.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import pytest

MOUNTED_S = 60.0


class FailingDisk:
    """`mount` shows the files of `source` and fails as `fail` says. Inodes change at mounts."""

    def __init__(self, base: Path) -> None:
        self.source, self.mount = base / "source", base / "in"
        self._control = base / "control.json"
        for folder in (self.source, self.mount):
            folder.mkdir(exist_ok=True)
        self._rules: list[dict[str, object]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self.works()

    def fail(
        self, call: str, error: str, names: str = "", start: int = 0, stop: int = 1 << 62
    ) -> None:
        """Let `call` (open, read, stat, readdir, rename) fail from now on for paths with `names`.

        `error` is the name of an errno, or `hang`: it returns only when the rules change. Reads
        fail only between the bytes `start` and `stop`.
        """
        self._rules.append(
            {"call": call, "error": error, "names": names, "start": start, "stop": stop}
        )
        self._write()

    def works(self) -> None:
        """Nothing fails from now on."""
        self._rules.clear()
        self._write()

    def _write(self) -> None:
        new = self._control.with_suffix(".new")
        new.write_text(json.dumps(self._rules))
        new.replace(self._control)

    def attach(self, *options: str) -> None:
        """Mount it. `reversed` lists its files the other way round, so that inodes differ."""
        command = [sys.executable, __file__, str(self.source), str(self.mount), str(self._control)]
        self._process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE)
        deadline = time.monotonic() + MOUNTED_S
        while not os.path.ismount(self.mount):
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                said = self._process.stderr.read().decode(errors="replace").strip()
                self._process.stderr.close()
                self._process = None
                pytest.skip(f"no FUSE file system can be mounted: {said[-200:]}")
            assert time.monotonic() < deadline, "the file system was not mounted"
            time.sleep(0.01)

    def detach(self) -> None:
        """Unmount it."""
        if self._process is not None:
            self.works()
            subprocess.run(["umount", "-l", str(self.mount)], check=False)
            self._process.kill()
            self._process.wait()
            assert self._process.stderr is not None
            self._process.stderr.close()
            self._process = None

    def __enter__(self) -> FailingDisk:
        if not os.path.exists("/dev/fuse"):
            pytest.skip("there is no /dev/fuse")
        self.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.detach()


def _serve(source: str, mount: str, control: str, backwards: bool) -> None:
    from fuse import FUSE, FuseOSError, Operations

    def check(call: str, path: str, offset: int = 0, size: int = 0) -> None:
        """Fail or hang if a rule says so."""
        while True:
            with open(control) as file:
                rules = json.load(file)
            for rule in rules:
                applies = rule["call"] == call and rule["names"] in path
                inside = offset + size > rule["start"] and offset < rule["stop"]
                if applies and (call != "read" or inside):
                    break
            else:
                return
            if rule["error"] != "hang":
                raise FuseOSError(getattr(errno, rule["error"]))
            time.sleep(0.02)

    class Failing(Operations):  # type: ignore[misc]
        def getattr(self, path: str, fh: int | None = None) -> dict[str, float]:
            check("stat", path)
            found = os.lstat(source + path)
            names = ("mode", "size", "nlink", "uid", "gid", "mtime", "ctime", "atime")
            return {f"st_{name}": getattr(found, f"st_{name}") for name in names}

        def readdir(self, path: str, fh: int) -> list[str]:
            check("readdir", path)
            return [".", "..", *sorted(os.listdir(source + path), reverse=backwards)]

        def open(self, path: str, flags: int) -> int:
            check("open", path)
            return os.open(source + path, flags & ~os.O_DIRECT)

        def create(self, path: str, mode: int, fi: object = None) -> int:
            return os.open(source + path, os.O_RDWR | os.O_CREAT, mode)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            check("read", path, offset, size)
            return os.pread(fh, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            return os.pwrite(fh, data, offset)

        def truncate(self, path: str, length: int, fh: int | None = None) -> None:
            os.truncate(source + path, length)

        def release(self, path: str, fh: int) -> None:
            os.close(fh)

        def rename(self, old: str, new: str) -> None:
            check("rename", old)
            os.rename(source + old, source + new)

        def unlink(self, path: str) -> None:
            os.unlink(source + path)

        def mkdir(self, path: str, mode: int) -> None:
            os.mkdir(source + path, mode)

    FUSE(Failing(), mount, foreground=True, direct_io=True, allow_other=os.geteuid() == 0)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], sys.argv[3], backwards="reversed" in sys.argv[4:])
