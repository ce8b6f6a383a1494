"""Learn from other models' scores in addition to labels.

Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network". That a pupil is given
the very clips its teachers hear, mixed and moved alike, is after Beyer et al. 2022, "Knowledge
distillation: A good teacher is patient and consistent"; that it hears noise over them, which the
teachers are spared, is so that it learns to hear through it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from tinyast.errors import TinyASTError
from tinyast.export.checkpoint import read_settings
from tinyast.features.log_mel import FeatureSettings
from tinyast.model.modeling import TinyASTForAudioClassification


class TeachingError(TinyASTError):
    """A model cannot teach here."""


def load_teacher(
    run: Path, settings: FeatureSettings, labels: tuple[str, ...]
) -> TinyASTForAudioClassification:
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
        raise TeachingError(f"the model of {run} cannot be loaded: train it anew") from error
    known = tuple(teacher.config.id2label[number] for number in range(teacher.config.num_labels))
    if known != labels:
        raise TeachingError(
            f"the model of {run} was not trained on the {len(labels)} kinds of sound to be learnt: "
            "train it on the same data"
        )
    if read_settings(folder) != settings:
        raise TeachingError(f"the model of {run} is made for other spectra: train it anew")
    if torch.cuda.is_available():
        teacher = teacher.cuda()
    ready: TinyASTForAudioClassification = teacher.to(memory_format=torch.channels_last).eval()
    return ready


def digest(teacher: TinyASTForAudioClassification) -> str:
    """Tells a teacher from others, by its weights."""
    content = hashlib.sha256()
    for weights in teacher.state_dict().values():
        content.update(weights.cpu().numpy().tobytes())
    return content.hexdigest()


@torch.no_grad()
def taught(
    teachers: Sequence[TinyASTForAudioClassification], pictures: Tensor, temperature: float
) -> Tensor:
    """The teachers' mean scores of `pictures`, (B, n_mels, n_frames).

    Scores, (B, classes), of their logits divided by `temperature`.
    """
    scores = [(teacher(pictures).logits.float() / temperature).softmax(1) for teacher in teachers]
    return torch.stack(scores).mean(0)


def distance(logits: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """The cross-entropy of a pupil's `logits`, (B, classes), with its teachers' `scores`.

    Times the square of `temperature`, so that it weighs as much whatever that is (Hinton et al.).
    """
    learnt = (logits / temperature).log_softmax(1)
    return -(scores * learnt).sum(1).mean() * temperature**2
