"""Each clip's pictures, computed once: its own, and variants played faster, slower or in a room.

They are kept as mel power, before the logarithm: powers of independent sounds add, so training
can mix and filter clips as if it mixed and filtered the sound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.audio.decoding import read_file
from tinyast.audio.resampling import resample
from tinyast.data.atomic import replacing
from tinyast.data.parallel import shared_out
from tinyast.data.variation import VariantSettings, varied
from tinyast.errors import AudioError, DataError
from tinyast.features.log_mel import FeatureSettings, mel_power
from tinyast.features.offset import without_offset

if TYPE_CHECKING:
    from tinyast.data.datasets import Dataset  # imports pandas, which worker processes do not need


@dataclass(frozen=True, eq=False)
class Spectra:
    """Mel power of the variants of n clips, read from its files as it is asked for.

    A data set's variants take gigabytes, and a training step needs those of a batch.
    """

    files: tuple[NDArray[np.float32], ...]  # each (clips, variants, bands, frames), maybe mapped
    places: NDArray[np.int64]  # (n, 2), of each clip its file and its row there

    @classmethod
    def of(cls, clips: NDArray[np.float32]) -> Spectra:
        """All of `clips`, (n, variants, bands, frames)."""
        rows = np.arange(len(clips))
        return cls((clips,), np.stack([np.zeros_like(rows), rows], axis=1))

    def __len__(self) -> int:
        return len(self.places)

    @property
    def variants(self) -> int:
        """Of a clip; if a file has fewer, they count again from its first."""
        return max((file.shape[1] for file in self.files), default=0)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Spectra:
        """Some of the clips, by their numbers or by a mask (n,)."""
        return Spectra(self.files, self.places[chosen])

    def __add__(self, other: Spectra) -> Spectra:
        """These clips, then the others."""
        moved = other.places + np.array([len(self.files), 0])
        return Spectra(self.files + other.files, np.concatenate([self.places, moved]))

    def power(self, chosen: NDArray[np.int64], variant: NDArray[np.int64]) -> Float:
        """Mel power (B, bands, frames) of the clips `chosen`, (B,), each as its `variant`, (B,)."""
        found = [
            self.files[file][row, number % self.files[file].shape[1]]
            for (file, row), number in zip(self.places[chosen], variant, strict=True)
        ]
        return np.stack(found)

    def plain(self, clips: slice = slice(None)) -> Float:
        """Mel power (m, bands, frames) of clips as they are, without a change."""
        numbers = np.arange(len(self))[clips]
        return self.power(numbers, np.zeros_like(numbers))


def load_clip(path: Path, settings: FeatureSettings) -> Float:
    """The clip's first window at the model's rate, (up to n_samples,) float32.

    Raises DataError naming the clip if it cannot be read.
    """
    try:
        samples, rate = read_file(path)
    except (AudioError, OSError) as error:
        raise DataError(f"{path}: {error}") from error
    return resample(samples[: round(settings.window_s * rate)], rate, settings.sampling_rate)


def clip_spectra(path: Path, settings: FeatureSettings, how: VariantSettings) -> Float:
    """All pictures of one clip as mel power, (variants, n_mels, n_frames).

    Random draws depend only on the clip's name and the seed, never on order or process.
    """
    samples = load_clip(path, settings)
    seen = partial(mel_power, settings=settings)
    digest = hashlib.sha256(f"{how.seed} {path.stem}".encode()).digest()
    random = np.random.default_rng(list(digest[:16]))
    pictures = [seen(without_offset(samples))]
    while len(pictures) < how.variants:
        pictures.append(seen(without_offset(varied(samples, settings, how, random))))
    return np.stack(pictures)


def dataset_spectra(
    dataset: Dataset,
    settings: FeatureSettings,
    how: VariantSettings,
    cache: Path,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Spectra:
    """Pictures of all clips of a data set, as `spectra_of` its paths."""
    return spectra_of(dataset.paths, settings, how, cache, workers, progress)


def spectra_of(
    paths: Sequence[Path],
    settings: FeatureSettings,
    how: VariantSettings,
    cache: Path,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Spectra:
    """Pictures of all clips, (clips, variants, n_mels, n_frames), in a file in `cache`.

    The file is named after all that went into it, and written under a temporary name first, so
    that a broken run cannot leave a partial file. `progress` receives the number of finished
    clips.
    """
    what = {
        "features": settings.to_dict(),
        "how": vars(how),
        "clips": [_stamp(p) for p in paths],
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    target = cache / f"spectra-{key}.npy"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        shape = (len(paths), how.variants, settings.n_mels, settings.n_frames)
        work = partial(clip_spectra, settings=settings, how=how)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        # Write sequentially, not mapped: on a full disk a mapped file kills the process.
        with replacing(target) as part, part.open("wb") as out, shared_out(workers) as share:
            np.lib.format.write_array_header_1_0(out, header)
            for index, pictures in enumerate(share(work, paths)):
                out.write(pictures.astype("<f4").tobytes())
                if progress:
                    progress(index + 1)
    return Spectra.of(np.load(target, mmap_mode="r"))


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns
