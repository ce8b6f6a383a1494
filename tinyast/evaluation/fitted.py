"""What an evaluation fits for an export: the temperature, and the limit of the rule `unknown`.

`evaluate` writes it into each run that it judged, and `export` finds it there or in a run of the
same kinds and recipe beside the one that is exported: the model that learns all clips has none left
to fit anything to.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from tinyast.data.atomic import replacing
from tinyast.evaluation.calibration import Logits, Targets, fit_temperature
from tinyast.inference.familiarity import familiarity

FITTED = "fitted.json"
RUN = "run.json"
HELD_OUT = "predictions.csv"
FAMILIAR = 5  # % of correctly classified clips that the rule `unknown` may reject
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
LEAST_CLIPS = 20  # for a share in steps of 5 points or finer; fewer say too little of a threshold


class Fitted(Struct, frozen=True, kw_only=True):
    """Values for an export, fitted to clips that the judged models had not seen."""

    temperature: float  # divides logits; 1 from fewer than `LEAST_CLIPS`
    unknown_below: float | None  # familiarity; None if no clip was classified correctly
    clips: int
    runs: tuple[str, ...]  # the folders of the runs that were judged


class _Run(Struct):
    """The part of run.json that says whether two runs are of one model."""

    recipe: dict[str, object]
    features: dict[str, object]
    labels: tuple[str, ...]


def fit(logits: Logits, targets: Targets, runs: tuple[str, ...]) -> Fitted:
    """Fit to `logits` (clips, labels), as the models give them, of clips that are `targets`."""
    enough = len(targets) >= LEAST_CLIPS
    temperature = fit_temperature(logits, targets) if enough else 1.0
    right = logits.argmax(axis=1) == targets
    familiar = familiarity(logits[right] / np.float32(temperature))
    return Fitted(
        temperature=temperature,
        unknown_below=float(np.percentile(familiar, FAMILIAR)) if len(familiar) else None,
        clips=len(targets),
        runs=runs,
    )


def write_fitted(run: Path, fitted: Fitted) -> None:
    """Put `fitted` into the folder of a run."""
    with replacing(run / FITTED) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(fitted)) + b"\n")


def find_fitted(run: Path) -> Fitted | None:
    """What was fitted for the model of `run`: in `run` itself, or in another run of that model.

    Of several others, the one that was fitted to the most clips.
    """
    found = [each for folder in _alike(run) if (each := _read(folder)) is not None]
    return _read(run) or max(found, key=lambda each: each.clips, default=None)


def not_evaluated(run: Path) -> list[Path]:
    """Runs of the model of `run`, itself among them, whose held-out clips were not judged yet."""
    return [folder for folder in (run, *_alike(run)) if (folder / HELD_OUT).is_file()
            and not (folder / FITTED).is_file()]  # fmt: skip


def _alike(run: Path) -> list[Path]:
    """Runs beside `run` of the same kinds, features and recipe, apart from its seed."""
    own = _identity(run)
    beside = sorted(path.parent for path in run.absolute().parent.glob(f"*/{RUN}"))
    others = [run.parent / folder.name for folder in beside if folder.name != run.absolute().name]
    return [folder for folder in others if own is not None and _identity(folder) == own]


def _identity(run: Path) -> _Run | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        read = msgspec.json.decode((run / RUN).read_bytes(), type=_Run)
        read.recipe.pop("seed", None)
        return read
    return None


def _read(run: Path) -> Fitted | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((run / FITTED).read_bytes(), type=Fitted)
    return None
