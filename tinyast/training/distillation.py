"""Learn from other models' scores in addition to labels.

Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network". That a pupil is given
the very clips its teachers hear, mixed and moved alike, is after Beyer et al. 2022, "Knowledge
distillation: A good teacher is patient and consistent"; that it hears noise over them, which the
teachers are spared, is so that it learns to hear through it. AudioSet's scores name everything that
is heard, so for these the teacher hears the clips behind others too: a pupil taught by the clear
clip alone learns to miss a voice in the background.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from tinyast.arrays import Float
from tinyast.errors import TinyASTError
from tinyast.export.checkpoint import read_settings
from tinyast.features.log_mel import FeatureSettings
from tinyast.model.modeling import MobileNetStem, TinyASTForAudioClassification, TinyASTOutput
from tinyast.training.augmentation import show


class TeachingError(TinyASTError):
    """A model cannot teach here."""


@dataclass(frozen=True)
class Teacher:
    """A trained model, and the picture that it sees of the sound its pupil hears."""

    model: TinyASTForAudioClassification
    settings: FeatureSettings


class Lesson(NamedTuple):
    """What teachers make of a batch of clips."""

    scores: Tensor  # (B, classes), their mean
    audioset_logits: Tensor | None  # (B, 527), of the first
    features: Tensor | None  # (B, width) that its stem makes of a clip, each of variance about 1


def load_teacher(run: Path, settings: FeatureSettings, labels: tuple[str, ...]) -> Teacher:
    """The model that the training in folder `run` ended with, for a pupil shown `settings`.

    Raises TeachingError if there is no model, or if it has other spectra or other kinds of sound.
    """
    folder = run / "model"
    if not (folder / "config.json").is_file():
        raise TeachingError(
            f"{run} holds no model to learn from: give the folder of a training that has ended"
        )
    try:
        teacher = TinyASTForAudioClassification.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise TeachingError(f"the model of {run} cannot be loaded: train it again") from error
    known = tuple(teacher.config.id2label[number] for number in range(teacher.config.num_labels))
    if known != labels:
        raise TeachingError(
            f"the model of {run} was not trained on the {len(labels)} kinds of sound to be learnt: "
            "train it on the same data"
        )
    theirs = read_settings(folder)
    if theirs.unpooled() != settings.unpooled():
        raise TeachingError(f"the model of {run} is made for other spectra: train it again")
    if torch.cuda.is_available():
        teacher = teacher.cuda()
    return Teacher(teacher.to(memory_format=torch.channels_last).eval(), theirs)


def digest(teacher: Teacher) -> str:
    """Tells a teacher from others, by its weights."""
    content = hashlib.sha256()
    for weights in teacher.model.state_dict().values():
        content.update(weights.cpu().numpy().tobytes())
    return content.hexdigest()


@torch.no_grad()
def taught(
    teachers: Sequence[Teacher], power: Float, temperature: float, covered: Float | None = None
) -> Lesson:
    """What teachers say of clips, mel power of frames (B, bands, frames).

    Scores are of their logits divided by `temperature`. AudioSet's logits are of `covered`, the
    clips with others behind them, if that is given.
    """
    outputs = [_hear(teacher, power) for teacher in teachers]
    scores = [(output.logits.float() / temperature).softmax(1) for output in outputs]
    first = outputs[0]
    features = None if first.features is None else stem_features(teachers[0].model, first.features)
    audioset = first.audioset_logits
    if covered is not None and audioset is not None:
        changed = (covered != power).any(axis=(1, 2))
        if changed.any():
            heard = _hear(teachers[0], covered[changed]).audioset_logits
            assert heard is not None
            audioset[torch.from_numpy(changed).to(audioset.device)] = heard
    return Lesson(torch.stack(scores).mean(0), audioset, features)


def _hear(teacher: Teacher, power: Float) -> TinyASTOutput:
    pictures = torch.from_numpy(show(power, teacher.settings)).to(teacher.model.device)
    output: TinyASTOutput = teacher.model(pictures)
    return output


def stem_features(teacher: TinyASTForAudioClassification, features: Tensor) -> Tensor:
    """The part of features (B, width) that a pretrained stem makes, scaled as the teacher does."""
    size, variance = MobileNetStem.summary_size, teacher.scaling.running_var
    assert variance is not None
    return features[:, :size] / (variance[:size].sqrt() + 1e-3)


def distance(logits: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """The cross-entropy of a pupil's `logits`, (B, classes), with its teachers' `scores`.

    Times the square of `temperature`, so that it weighs as much whatever that is (Hinton et al.).
    """
    learnt = (logits / temperature).log_softmax(1)
    return -(scores * learnt).sum(1).mean() * temperature**2
