"""The folder of sounds of no kind, with packages that the tests build."""

from __future__ import annotations

import csv
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from conftest import ROOT
from sounds import noise, write_wav

from tinyast.data.extra import debian, making
from tinyast.data.extra.catalogue import Package
from tinyast.data.extra.clips import ExtraError
from tinyast.data.extra.folder import paths_of, read_rows
from tinyast.data.extra.making import Amounts, make_all, makers
from tinyast.errors import DataError

PACKAGE = Package("tinyast-test-sounds", "effect", "CC0-1.0", 8, "val", without="secret", cuts=2)
FEW = Amounts(noise=4, tone=4)
MADE = ("noise", "tone", "effect")


@pytest.fixture
def debs(tmp_path: Path) -> Path:
    """A folder with a package of six sounds, two of which are to be left out, and a text."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {PACKAGE.name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\n"
        "Description: sounds\n"
    )
    sounds = tree / "usr" / "share" / "sounds"
    sounds.mkdir(parents=True)
    write_wav(sounds / "short.wav", 1.0, rate=44_100)
    write_wav(sounds / "long.wav", 40.0)
    write_wav(sounds / "dog_barks.wav", 1.0)
    write_wav(sounds / "secret.wav", 1.0)
    soundfile.write(sounds / "silent.wav", 0 * noise(1.0), 16_000)
    (sounds / "broken.wav").write_bytes(b"no sound")
    (sounds / "readme.txt").write_text("text")
    debs = tmp_path / "packages"
    debs.mkdir()
    subprocess.run(
        ("dpkg-deb", "-b", "-Znone", tree, debs / f"{PACKAGE.name}_1_all.deb"),
        check=True,
        capture_output=True,
    )
    return debs


def make(debs: Path, folder: Path, packages: tuple[Package, ...] = (PACKAGE,)) -> list[str]:
    """Make the clips; returns the words about packages that are left out."""
    said: list[str] = []
    found = makers(debs, MADE, FEW, packages)
    make_all(found, folder, progress=lambda name, number: None, left_out=said.append)
    return said


def test_labels_list_every_clip_with_its_source_and_licence(debs: Path, tmp_path: Path) -> None:
    assert make(debs, tmp_path / "extra") == []
    with (tmp_path / "extra" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "group", "source", "licence", "split", "seconds"]
    written = (tmp_path / "extra").glob("*/*.flac")
    assert {f"{path.parent.name}/{path.name}" for path in written} == {row["path"] for row in rows}
    for row in rows:
        info = soundfile.info(tmp_path / "extra" / row["path"])
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert float(row["seconds"]) == pytest.approx(info.duration, abs=0.006)
        assert row["path"].startswith(f"{row['split']}/{row['group']}-")
        assert row["licence"] == "CC0-1.0"
    halves = [paths_of(tmp_path / "extra", split) for split in ("train", "val")]
    assert sorted(halves[0] + halves[1]) == sorted((tmp_path / "extra").glob("*/*.flac"))
    cut = [row for row in rows if row["group"] == "effect"]
    names = sorted(row["source"].rsplit("/", 1)[-1] for row in cut)
    assert names == ["long.wav", "long.wav", "short.wav"]
    assert {row["split"] for row in cut} == {"val"}


def test_an_interrupted_run_goes_on_and_ends_the_same(
    debs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(debs, tmp_path / "whole")
    found = makers(debs, MADE, FEW, (PACKAGE,))

    def stop(name: str, number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_all(found, tmp_path / "again", progress=stop, left_out=lambda why: None)
    assert not (tmp_path / "again" / "labels.csv").exists()
    monkeypatch.setattr(making, "noises", lambda count: pytest.fail("noise was made twice"))
    make(debs, tmp_path / "again")
    labels = [(tmp_path / name / "labels.csv").read_bytes() for name in ("whole", "again")]
    assert labels[0] == labels[1]
    assert not (tmp_path / "again" / ".parts").exists()


def test_a_package_that_apt_does_not_know_is_left_out(debs: Path, tmp_path: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("apt-get is not installed")
    absent = Package("tinyast-no-such-package", "effect", "CC0-1.0", 4)
    said = make(debs, tmp_path / "extra", (PACKAGE, absent))
    assert said == ["apt knows no package tinyast-no-such-package"]
    assert len(read_rows(tmp_path / "extra" / "labels.csv")) == 4 + 4 + 3


def test_without_apt_the_error_lists_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ExtraError, match=r"oxygen-sounds, .*sound-theme-freedesktop"):
        makers(tmp_path, ["interface"])
    assert makers(tmp_path, ["noise", "tone"])
    with pytest.raises(ExtraError, match="sudo apt install espeak-ng flite"):
        makers(tmp_path, ["speech"])


def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scripts\.download --extra makes it"):
        paths_of(tmp_path, "train")
    columns = "path,group,source,licence,split,seconds\n"
    (tmp_path / "labels.csv").write_text(f"{columns}train/a.flac,noise,a,b,train,1.00\n")
    with pytest.raises(DataError, match=r"a\.flac is missing"):
        paths_of(tmp_path, "train")
    (tmp_path / "labels.csv").write_text("file,label\na.wav,none\n")
    with pytest.raises(DataError, match="no list of sounds of no kind"):
        paths_of(tmp_path, "train")


def test_a_broken_package_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{PACKAGE.name}_1_all.deb").write_bytes(b"no package")
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    with pytest.raises(ExtraError, match=r"delete .*_1_all.deb and run the same command again"):
        debian.unpacked(PACKAGE.name, tmp_path)


def test_the_script_makes_a_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    script = importlib.import_module("scripts.download")
    monkeypatch.setattr(making, "Amounts", lambda: FEW)
    without = [group for group in making.GROUPS if group not in ("noise", "tone")]
    words = ["--extra", "--output", str(tmp_path), *(f"--without={group}" for group in without)]
    for said in ("8 clips in", "is there already, with 8 clips"):
        monkeypatch.setattr(sys, "argv", ["download", *words])
        with pytest.raises(SystemExit) as ended:
            script.main()
        assert not ended.value.code
        assert said in " ".join(capsys.readouterr().out.split())
    left = sorted(path.name for path in (tmp_path / "extra").iterdir())
    assert left == ["labels.csv", "train", "val"]
