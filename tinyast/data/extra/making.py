"""All sounds of no kind: the synthesised ones, then those cut from packages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tinyast.data.extra.catalogue import PACKAGES, SOUND_FONTS, Package
from tinyast.data.extra.clips import Clip
from tinyast.data.extra.debian import UnknownPackageError, check_apt, unpacked
from tinyast.data.extra.folder import Row, read_rows, save, write_labels, write_rows
from tinyast.data.extra.music import pieces
from tinyast.data.extra.noise import noises
from tinyast.data.extra.programs import check_programs
from tinyast.data.extra.recorded import recorded
from tinyast.data.extra.speech import speeches
from tinyast.data.extra.tones import tones

GROUPS = ("noise", "tone", "speech", "music", "interface", "effect", "animal")
PROGRAMS = {"speech": ("espeak-ng", "flite"), "music": ("fluidsynth",)}


@dataclass(frozen=True)
class Amounts:
    """How many clips of each group are made; the defaults are those of the shipped model."""

    noise: int = 270
    tone: int = 240
    speech: int = 700
    music: int = 320


@dataclass(frozen=True)
class Maker:
    """A named source of clips; calling `make` makes them."""

    name: str
    make: Callable[[], Iterator[Clip]]


def makers(
    debs: Path,
    groups: Collection[str] = GROUPS,
    amounts: Amounts | None = None,
    packages: Collection[Package] = PACKAGES,
) -> list[Maker]:
    """Every source of the `groups`, in order; packages are kept in the folder `debs`.

    Raises:
        ExtraError: A program or apt is missing, found out before anything is made.
    """
    amounts = amounts or Amounts()
    chosen = [package for package in packages if package.group in groups]
    check_programs(name for group in groups for name in PROGRAMS.get(group, ()))
    fonts = tuple(SOUND_FONTS) if "music" in groups else ()
    check_apt([package.name for package in chosen] + list(fonts), debs)

    def sound_fonts() -> list[Path]:
        return [unpacked(name, debs) / SOUND_FONTS[name] for name in SOUND_FONTS]

    synthesised = {
        "noise": lambda: noises(amounts.noise),
        "tone": lambda: tones(amounts.tone),
        "speech": lambda: speeches(amounts.speech),
        "music": lambda: pieces(amounts.music, sound_fonts()),
    }
    found = [Maker(name, make) for name, make in synthesised.items() if name in groups]
    for number, package in enumerate(chosen):
        found.append(Maker(f"{package.name}-{package.group}-{number}", _cut(package, debs)))
    return found


def _cut(package: Package, debs: Path) -> Callable[[], Iterator[Clip]]:
    def clips() -> Iterator[Clip]:
        root = unpacked(package.name, debs)
        font = next(iter(SOUND_FONTS))
        yield from recorded(package, root, lambda: unpacked(font, debs) / SOUND_FONTS[font])

    return clips


def make_all(
    found: Collection[Maker],
    folder: Path,
    progress: Callable[[str, int], None],
    left_out: Callable[[str], None],
) -> list[Row]:
    """Make the clips of `found` in `folder`, and labels.csv last; resumes an interrupted run.

    `progress` receives each maker's name and number, `left_out` a sentence for each package that
    apt does not know. Raises ExtraError, OSError.
    """
    parts = folder / ".parts"
    parts.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for number, maker in enumerate(found):
        part = parts / f"{maker.name}.csv"
        progress(maker.name, number)
        if not part.exists():
            try:
                write_rows(save(maker.make(), folder), part)
            except UnknownPackageError as error:
                left_out(str(error))
                continue
        rows += read_rows(part)
    progress("", len(found))
    write_labels(rows, folder)
    shutil.rmtree(parts)
    return rows
