"""The base install on aarch64, which qemu emulates: it gives the scores of this machine.

Times have no meaning there. A user-mode emulator shows the host's /proc/cpuinfo; ONNX Runtime 1.32
looks there for the cores of an ARM processor and crashes on an x86 one's. So the test puts that of
an ARM processor in its place.
"""

from __future__ import annotations

import csv
import os
import platform
import shutil
import sys
from pathlib import Path

import pytest
from commands import run
from conftest import ROOT
from sounds import write_wav

CLASSIFY = ["-m", "daemon", "classify", "--format", "csv"]
WHEELS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
CPUINFO = """\
processor\t: {core}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics asimdrdm asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""  # of a Cortex-A76, a Raspberry Pi 5's


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian 12 for arm64, unpacked but not set up: enough for its Python to run."""
    for tool in ("qemu-aarch64-static", "debootstrap"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian: qemu-user-static, debootstrap)")
    if os.geteuid() != 0 or platform.machine() == "aarch64":
        pytest.skip("needs root, on another architecture")
    root = tmp_path_factory.mktemp("arm64")
    run(
        "debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", "--include=python3",
        "bookworm", root,
    )  # fmt: skip
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        unpack = (
            f"dpkg-deb --fsys-tarfile '{package}' | tar -x --keep-directory-symlink -C '{root}'"
        )
        run("sh", "-c", unpack)
    (root / "proc").unlink()
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text("".join(CPUINFO.format(core=core) for core in range(2)))
    return root


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the base install has on aarch64, from the lock file, with this project's code."""
    folder = tmp_path_factory.mktemp("packages")
    platforms = [word for name in WHEELS for word in ("--platform", f"{name}_aarch64")]
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, *platforms,
        "--only-binary=:all:", "--python-version", "3.11", "--no-deps", "--require-hashes",
        "-r", ROOT / "config/locks/base.txt",
    )  # fmt: skip
    for name in ("daemon", "tinyast"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def rows(output: str) -> list[dict[str, str]]:
    return list(csv.DictReader(output.splitlines()))


@pytest.mark.parametrize("checkpoint", ["esc50", "esc50-fine"])
@pytest.mark.parametrize("engine", ["onnx", "int8"])
def test_scores_are_those_of_this_machine(
    root: Path, packages: Path, tmp_path: Path, checkpoint: str, engine: str
) -> None:
    for number, rate in enumerate((16_000, 44_100, 48_000)):
        write_wav(tmp_path / f"{rate}.wav", seed=number, rate=rate)
    words = [*CLASSIFY, "--checkpoint", checkpoint, "--engine", engine, tmp_path]
    emulated = ["qemu-aarch64-static", "-L", root, root / "usr/bin/python3.11"]
    there = rows(run(*emulated, *words, PYTHONPATH=str(packages), TZ="UTC"))
    here = rows(run(sys.executable, *words, TZ="UTC"))
    assert len(here) == 3
    # int8: the two processors round in other places.
    apart = 1e-4 if engine == "onnx" else 0.1
    for ours, theirs in zip(here, there, strict=True):
        assert Path(ours["path"]).name == Path(theirs["path"]).name
        assert float(theirs["score"]) == pytest.approx(float(ours["score"]), abs=apart)
        assert engine == "int8" or ours["label"] == theirs["label"]
