"""What all scripts do alike: an extra that is missing, help, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT
from sounds import short_wav


@pytest.fixture(scope="module")
def base_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of a base install alone, by links to those installed here."""
    folder = tmp_path_factory.mktemp("base")
    todo, seen = ["tinyast"], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system
            continue
        todo += [
            re.split(r"[^\w.-]", line)[0]
            for line in package.requires or []
            if "extra ==" not in line
        ]
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            if name != "tinyast" and not (folder / top).exists():
                (folder / top).symlink_to(str(package.locate_file(top)))
    return folder


@pytest.mark.parametrize("name", ["download", "preprocess", "train", "evaluate", "export"])
def test_a_missing_extra_is_asked_for(base_packages: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", f"scripts.{name}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(base_packages)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    install = f"{sys.executable} -m pip install -e '.[train]'"
    assert re.fullmatch(rf"Error: \w+ is not installed\. .* {re.escape(install)}\n", done.stderr), (
        done.stderr
    )


@pytest.mark.parametrize("name", ["download", "preprocess"])
def test_help_has_examples(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"scripts.{name}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert f"  python -m scripts.{name}\n" in re.sub(r" +\n", "\n", done.stdout), done.stdout


def test_ctrl_c_is_answered_in_one_line(tmp_path: Path) -> None:
    """As a terminal does it: to all processes at once."""
    (tmp_path / "sounds").mkdir()
    sound, rows = short_wav(), ["filename,label"]
    for number in range(2000):
        (tmp_path / "sounds" / f"{number}.wav").write_bytes(sound)
        rows.append(f"{number}.wav,{number % 2}")
    (tmp_path / "sounds" / "metadata.csv").write_text("\n".join(rows))
    words = ["--data", str(tmp_path / "sounds"), "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.preprocess", *words, "--workers", "2"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while not list(tmp_path.glob("out/*.npy")):
        assert process.poll() is None
        os.sched_yield()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert said == "Stopped. Finished pictures are kept; run the same command to resume.\n"
    assert process.returncode == 130
    assert not list((tmp_path / "out").glob("*.part"))
