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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "none"], "there is no folder none"),
        (["--data", "."], "no meta/esc50.csv, esc50.csv, metadata.csv in ."),
        (["--data", ""], "--data: is empty"),
        (["--run", ""], "--run: is empty"),
        (["--wild", "none"], "none/labels.csv is missing"),
        (["--data", "sounds", "--run", "none"], "none is not a finished run: there is no such"),
        (["--data", "sounds", "--run", "sounds"], "sounds is not a finished run: it has no pred"),
        (["--data", "sounds", "--checkpoint", "none"], "none"),
        (["--engine", "x"], "no engine is called 'x'"),
    ],
)
def test_a_mistake_is_named_before_a_library_is_loaded(
    tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "metadata.csv").touch()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "scripts.evaluate", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert said in done.stderr
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "typer" in loaded
    assert not {"torch", "transformers", "pandas", "matplotlib", "librosa"} & loaded
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").rglob("*.py")), ids=str)
def test_every_script_refuses_empty_paths(path: Path) -> None:
    assert "typer.run(" not in path.read_text(), "run it with scripts.frontend.run_script"


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
