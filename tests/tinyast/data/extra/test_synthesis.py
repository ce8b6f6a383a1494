"""Sounds of no kind that are made: they are what their names say, and the same every time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyast.data.extra.catalogue import PACKAGES
from tinyast.data.extra.clips import RATE, Clip, split_of
from tinyast.data.extra.music import composed, pieces
from tinyast.data.extra.noise import noises
from tinyast.data.extra.programs import run
from tinyast.data.extra.speech import espeak_languages, speeches
from tinyast.data.extra.tones import KEYPAD, tones

FONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def check_clips(clips: Iterable[Clip], group: str, most_s: float) -> list[Clip]:
    found = list(clips)
    for clip in found:
        assert clip.group == group
        assert clip.split in ("train", "val")
        assert clip.samples.ndim == 1
        assert 0.15 * RATE < len(clip.samples) <= most_s * RATE
        assert 0.09 < np.abs(clip.samples).max() <= 1
    return found


def slope(samples: NDArray[np.float32]) -> float:
    """How steeply the power falls with frequency between 100 Hz and 4 kHz, as an exponent."""
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    edges = np.geomspace(100, 4000, 9)
    bands = [power[(hertz >= a) & (hertz < b)].mean() for a, b in pairwise(edges)]
    return float(np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(bands), 1)[0])


def test_noise_has_its_colour() -> None:
    clips = check_clips(noises(27), "noise", 10)
    for name, exponent in {"white": 0, "pink": -1, "brown": -2, "blue": 1, "violet": 2}.items():
        found = [slope(clip.samples) for clip in clips if f" {name} " in clip.source]
        assert len(found) == 3
        assert np.median(found) == pytest.approx(exponent, abs=0.4)


def test_a_dialled_key_sounds_in_its_two_frequencies() -> None:
    clip = next(clip for clip in check_clips(tones(16), "tone", 20) if "dialling" in clip.source)
    power = np.abs(np.fft.rfft(clip.samples)) ** 2
    hertz = np.fft.rfftfreq(len(clip.samples), 1 / RATE)
    keys = {frequency for pair in KEYPAD.values() for frequency in pair}
    near = np.any([np.abs(hertz - key) < 40 for key in keys], axis=0)
    assert power[near].sum() > 0.9 * power.sum()


def test_a_clip_does_not_depend_on_how_many_are_made() -> None:
    makers: list[Callable[[int], Iterator[Clip]]] = [noises, tones]
    for make in makers:
        few, many = list(make(3)), list(make(12))
        for one, other in zip(few, many, strict=False):
            assert one.source == other.source
            assert np.array_equal(one.samples, other.samples)


def test_speech_in_many_languages_keeps_a_speaker_in_one_split() -> None:
    needs("espeak-ng", "flite")
    assert len(espeak_languages()) > 80
    clips = check_clips(speeches(24), "speech", 12)
    assert sum(clip.source.startswith("flite") for clip in clips) == 2
    assert len({clip.source.split("+")[0] for clip in clips}) > 15
    for clip in clips:
        speaker = clip.source.split("+")[-1] if "+" in clip.source else clip.source.split()[-1]
        program = clip.source.split("-")[0].split(":")[0]
        assert clip.split == split_of(f"{program} {speaker.removesuffix('16')}")
    again = list(speeches(2))
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(clips, again, strict=False))


def test_music_is_composed_and_played() -> None:
    needs("fluidsynth")
    if not FONT.exists():
        pytest.skip(f"{FONT} is not installed")
    clips = check_clips(pieces(2, [FONT]), "music", 15)
    again = next(pieces(1, [FONT]))
    assert np.array_equal(again.samples, clips[0].samples)
    assert composed(np.random.default_rng(1)) != composed(np.random.default_rng(2))
    assert composed(np.random.default_rng(1)) == composed(np.random.default_rng(1))


def test_a_program_that_fails_is_told() -> None:
    with pytest.raises(Exception, match=r"false failed \(1\)"):
        run("false")
    with pytest.raises(Exception, match="tinyast-absent is not installed"):
        run("tinyast-absent")


def test_the_catalogue_names_licences_and_keeps_packages_in_one_split() -> None:
    splits: dict[str, set[str]] = {}
    for package in PACKAGES:
        assert package.licence
        assert package.split in ("train", "val")
        splits.setdefault(package.name, set()).add(package.split)
    assert [name for name, found in splits.items() if len(found) > 1] == ["tuxpaint-stamps-default"]
    assert {package.group for package in PACKAGES if package.split == "val"} == {
        *("speech", "music", "interface", "effect", "animal")
    }
