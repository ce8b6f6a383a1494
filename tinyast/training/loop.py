"""The training loop, which resumes after a kill as if nothing had happened.

Everything random in an epoch comes from the recipe's seed and the epoch's number, and the state
after each epoch is put on disk in one move: a run killed at any moment and started again ends with
the same weights as one left alone, on CPU with the same number of threads.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tinyast.arrays import Float
from tinyast.data.atomic import replacing
from tinyast.data.spectrograms import Spectra
from tinyast.errors import DataError, TinyASTError
from tinyast.features.log_mel import FeatureSettings
from tinyast.model.feature_extraction import TinyASTFeatureExtractor
from tinyast.model.modeling import TinyASTForAudioClassification
from tinyast.training.augmentation import Batch, augment, show
from tinyast.training.distillation import Teacher, digest, taught
from tinyast.training.extending import Kept, describe_more
from tinyast.training.last_layer import PASSES, refit
from tinyast.training.losses import loss_of
from tinyast.training.pretrained import Weights
from tinyast.training.recipe import Recipe
from tinyast.training.start import start
from tinyast.training.statistics import AT_ONCE, describe, scaled_features

Tensors = tuple[Tensor, ...] | list[Tensor]


class TrainingError(TinyASTError):
    """A training cannot begin, or go on from what its folder holds."""


@dataclass(frozen=True)
class Clips:
    """What the loop needs to know of a data set."""

    spectra: Spectra  # mel power of frames, (clips, variants, n_mels, n_frames * pool)
    targets: NDArray[np.int64]  # (clips,); -1 is a sound of no kind

    def with_none(self, spectra: Spectra) -> Clips:
        """These and sounds of no kind."""
        targets = np.concatenate([self.targets, np.full(len(spectra), -1)])
        return Clips(self.spectra + spectra, targets)

    def digest(self) -> str:
        """Tells these clips, by their plain pictures and labels, from any others."""
        content = hashlib.sha256(self.targets.astype("<i8").tobytes())
        for number in range(len(self.spectra)):
            content.update(self.spectra.plain(slice(number, number + 1)).astype("<f4").tobytes())
        return content.hexdigest()


@dataclass(frozen=True)
class Metrics:
    """One row of metrics.csv."""

    epoch: int  # from 1
    learning_rate: float
    loss: float  # mean over the epoch, on augmented clips with mixed labels
    train_accuracy: float  # on those augmented clips, against the larger part of the mix
    test_accuracy: float | None  # of the averaged weights on plain held-out clips, when looked at


@dataclass
class State:
    """All that a run carries from one epoch to the next."""

    model: TinyASTForAudioClassification
    average: AveragedModel  # running mean of the weights
    optimiser: torch.optim.Optimizer
    history: list[Metrics]

    @property
    def kept(self) -> TinyASTForAudioClassification:
        """The model that the training is for: the averaged one."""
        return cast(TinyASTForAudioClassification, self.average.module)

    def save(self, path: Path) -> None:
        """Write all of it in one move: a kill leaves the old file or the new one."""
        values = {
            "model": self.model.state_dict(),
            "average": self.kept.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": [asdict(row) for row in self.history],
        }
        # In memory first: told of a full disk, torch's own writer says something else.
        buffer = io.BytesIO()
        torch.save(values, buffer)
        try:
            with replacing(path) as part:
                part.write_bytes(buffer.getbuffer())
        except DataError as error:
            raise TrainingError(f"{error}. Make room, and run the same again") from error

    def load(self, path: Path) -> None:
        values = torch.load(path, map_location=self.model.device, weights_only=True)
        self.model.load_state_dict(values["model"])
        self.kept.load_state_dict(values["average"])
        self.optimiser.load_state_dict(values["optimiser"])
        self.history = [Metrics(**row) for row in values["history"]]


def train(
    folder: Path,
    recipe: Recipe,
    settings: FeatureSettings,
    labels: tuple[str, ...],
    training: Clips,
    testing: Clips | None = None,
    teachers: Sequence[Teacher] = (),
    test_every: int = 10,
    report: Callable[[Metrics], None] | None = None,
    pretrained: Weights | None = None,
    begin: Teacher | None = None,
    kept: Kept | None = None,
) -> TinyASTForAudioClassification:
    """Train in `folder`, going on from what it holds, and return the averaged weights.

    The folder gets `run.json` (recipe and settings), `metrics.csv`, `state.pt` and, at the end,
    `model/`. Held-out clips are looked at every `test_every` epochs, for the log only. `teachers`
    are models of the same kinds and spectra, whose scores are learnt too. A stem of "mobilenet"
    starts from `pretrained`, and all of the network from `begin`, whose kinds are `kept`. Raises
    StartError if that does not fit, and TrainingError if the folder holds another run.
    """
    _claim(
        folder,
        {
            "recipe": recipe.to_dict(),
            "features": settings.to_dict(),
            "labels": labels,
            "clips": training.digest(),
            "teachers": [digest(teacher) for teacher in teachers],
            "start": None if begin is None else digest(begin),
            "kept": None if kept is None else kept.count,
        },
    )
    state = State(*start(recipe, settings, labels, training.spectra, pretrained, begin, kept), [])
    if (folder / "state.pt").exists():
        state.load(folder / "state.pt")
    for epoch in range(len(state.history) + 1, recipe.epochs + 1):
        rate, loss, accuracy = _epoch(state, recipe, settings, training, teachers, kept)
        due = epoch % test_every == 0 or epoch == recipe.epochs
        tested = _accuracy(state.kept, testing, settings) if testing and due else None
        state.history.append(Metrics(epoch, rate, loss, accuracy, tested))
        state.save(folder / "state.pt")
        _write_metrics(folder / "metrics.csv", state.history)
        if report:
            report(state.history[-1])
    _fit_to_clips(state.kept, training, recipe, settings, kept)
    state.kept.save_pretrained(folder / "model")
    TinyASTFeatureExtractor(**settings.to_dict()).save_pretrained(folder / "model")
    return state.kept


def _fit_to_clips(
    model: TinyASTForAudioClassification,
    clips: Clips,
    recipe: Recipe,
    settings: FeatureSettings,
    kept: Kept | None,
) -> None:
    """What is fitted to a trained network's features: last layer, statistics of the clips."""
    if model.config.stem != "mobilenet":
        return
    kinds, labels = clips.targets >= 0, model.config.num_labels
    targets = clips.targets[kinds]
    features = _features(model, clips.spectra.take(kinds), settings)
    if recipe.last_layer:
        random = np.random.default_rng([recipe.seed, recipe.epochs])
        unmixed = structs.replace(recipe, mix=0.0)
        passes = (_batches(clips, labels, unmixed, settings, random) for _ in range(PASSES))
        refit(model, features, targets, chain.from_iterable(passes), recipe.last_layer)
    (describe if kept is None else describe_more)(model, features, targets)


def _features(
    model: TinyASTForAudioClassification, spectra: Spectra, settings: FeatureSettings
) -> NDArray[np.float64]:
    """What the classifier is given of each clip as it is, (clips, width)."""
    parts = [scaled_features(model, some) for some in _pictures(spectra, settings)]
    return np.concatenate(parts)


def predict(
    model: TinyASTForAudioClassification, spectra: Spectra, settings: FeatureSettings
) -> NDArray[np.float32]:
    """Logits, (clips, classes), for clips as they are."""
    model.eval()
    logits = []
    with torch.inference_mode():
        for some in _pictures(spectra, settings):
            output = model(torch.from_numpy(some).to(model.device))
            logits.append(output.logits.float().cpu().numpy())
    return np.concatenate(logits)


def _pictures(spectra: Spectra, settings: FeatureSettings) -> Iterator[Float]:
    """Pictures of the clips as they are, (up to `AT_ONCE`, n_mels, n_frames) each time."""
    for first in range(0, len(spectra), AT_ONCE):
        yield show(spectra.plain(slice(first, first + AT_ONCE)), settings)


def _accuracy(
    model: TinyASTForAudioClassification, clips: Clips, settings: FeatureSettings
) -> float:
    found = predict(model, clips.spectra, settings).argmax(axis=1)
    return float((found == clips.targets).mean())


def _epoch(
    state: State,
    recipe: Recipe,
    settings: FeatureSettings,
    clips: Clips,
    teachers: Sequence[Teacher],
    kept: Kept | None,
) -> tuple[float, float, float]:
    """Pass over the clips once; gives the last learning rate, mean loss and mean accuracy."""
    epoch = len(state.history)
    random = np.random.default_rng([recipe.seed, epoch])
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)
    state.model.train()
    if not recipe.stem_rate:
        state.model.stem.requires_grad_(False)
    if kept is not None:
        state.model.scaling.eval()  # a few clips of a few kinds do not say how features spread
    device = state.model.device
    per_epoch = max(1, clips_of_epoch(clips, recipe) // recipe.batch_size)
    state.average.n_averaged.fill_(1 + epoch * per_epoch)  # the weights at the start count as one
    losses, hits, rate = [], [], 0.0
    labels = state.model.config.num_labels
    for number, batch in enumerate(_batches(clips, labels, recipe, settings, random)):
        step = epoch * per_epoch + number
        rate = one_cycle(step / (per_epoch * recipe.epochs), recipe)
        for group in state.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        truth = torch.from_numpy(batch.targets).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=_bfloat16(recipe, device)):
            output = state.model(torch.from_numpy(batch.pictures).to(device))
            lesson = None
            if teachers:
                lesson = taught(teachers, batch.clear, recipe.distil_temperature, batch.covered)
        loss = loss_of(output, truth, recipe, lesson, teachers)
        if kept is not None:
            loss = loss + kept.loss(state.model, random)
        loss.backward()  # type: ignore[no-untyped-call]
        if kept is not None:
            kept.hold(state.model, clips.targets)
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_norm)
        state.optimiser.step()
        state.optimiser.zero_grad(set_to_none=True)
        state.average.update_parameters(state.model)
        losses.append(loss.item())
        hits.append(_hits(output.logits, truth))
    return rate, float(np.mean(losses)), float(np.mean(hits))


def _hits(logits: Tensor, truth: Tensor) -> float:
    """The share of clips, those of a kind for the most part, whose larger part is named."""
    of_kinds = truth.sum(1) > 0.5
    right = (logits.argmax(1) == truth.argmax(1)) & of_kinds
    return float(right.sum() / of_kinds.sum().clamp_min(1))


def clips_of_epoch(clips: Clips, recipe: Recipe) -> int:
    """How many clips an epoch hears: all those of a kind, and some of no kind."""
    kinds = int((clips.targets >= 0).sum())
    return kinds + min(recipe.none_clips, len(clips.targets) - kinds)


def _batches(
    clips: Clips,
    labels: int,
    recipe: Recipe,
    settings: FeatureSettings,
    random: np.random.Generator,
) -> Iterator[Batch]:
    """The clips, changed and shuffled, in batches with targets (B, labels)."""
    variants = clips.spectra.variants
    count = clips_of_epoch(clips, recipe)
    size = min(recipe.batch_size, count)
    one_hot = np.eye(labels, dtype=np.float32)
    one_hot = np.concatenate([one_hot, np.zeros_like(one_hot[:1])])  # the last one is of no kind
    kinds, others = np.flatnonzero(clips.targets >= 0), np.flatnonzero(clips.targets < 0)
    order = np.concatenate([kinds, random.permutation(others)[: count - len(kinds)]])
    order = random.permutation(order)
    for first in range(0, count - size + 1, size):
        chosen = order[first : first + size]
        which = random.integers(variants, size=size) * (random.random(size) < recipe.varied)
        power = clips.spectra.power(chosen, which)
        yield augment(power, one_hot[clips.targets[chosen]], recipe, settings, random)


def one_cycle(progress: float, recipe: Recipe) -> float:
    """Learning rate after `progress` (0 to 1) of the run: a straight rise, then half a cosine."""
    if progress < recipe.warmup:
        return recipe.learning_rate * (progress + 1e-3) / (recipe.warmup + 1e-3)
    fallen = (progress - recipe.warmup) / (1 - recipe.warmup)
    return recipe.learning_rate * (0.001 + 0.999 * (1 + math.cos(math.pi * fallen)) / 2)


def _bfloat16(recipe: Recipe, device: torch.device) -> bool:
    # Without the instructions it is emulated, and several times slower than float32.
    return recipe.bfloat16 and (device.type == "cuda" or torch.cpu._is_avx512_bf16_supported())


def _claim(folder: Path, values: dict[str, object]) -> None:
    """Say what this folder's run is, or make sure that it is this one."""
    values = json.loads(json.dumps(values))
    path = folder / "run.json"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        different = [key for key in values if before.get(key) != values[key]]
        if different:
            raise TrainingError(
                f"{folder} holds a run with other {' and '.join(different)}; choose another folder"
            )
    with replacing(path) as part:
        part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _write_metrics(path: Path, history: list[Metrics]) -> None:
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(asdict(history[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in history)
