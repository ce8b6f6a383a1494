"""Each clip's pictures, computed once: its own, and variants played faster, slower or in a room.

They are kept as mel power, before the logarithm: powers of independent sounds add, so training
can mix and filter clips as if it mixed and filtered the sound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
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

if TYPE_CHECKING:
    from tinyast.data.datasets import Dataset  # imports pandas, which worker processes do not need


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
    digest = hashlib.sha256(f"{how.seed} {path.stem}".encode()).digest()
    random = np.random.default_rng(list(digest[:16]))
    pictures = [mel_power(samples, settings)]
    while len(pictures) < how.variants:
        pictures.append(mel_power(varied(samples, settings, how, random), settings))
    return np.stack(pictures)


def dataset_spectra(
    dataset: Dataset,
    settings: FeatureSettings,
    how: VariantSettings,
    cache: Path,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Pictures of all clips of a data set, as `spectra_of` its paths."""
    return spectra_of(dataset.paths, settings, how, cache, workers, progress)


def spectra_of(
    paths: Sequence[Path],
    settings: FeatureSettings,
    how: VariantSettings,
    cache: Path,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Pictures of all clips, (clips, variants, n_mels, n_frames), mapped from a file in `cache`.

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
    return np.load(target, mmap_mode="r")  # type: ignore[no-any-return]


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns
