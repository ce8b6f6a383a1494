"""What a step of training makes smaller."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from tinyast.model.modeling import TinyASTOutput
from tinyast.training.distillation import Lesson, Teacher, distance, stem_features
from tinyast.training.recipe import Recipe

SHARE = 20.0  # divides the sum of AudioSet's 527 losses, for a weight of about 1


def loss_of(
    output: TinyASTOutput,
    truth: Tensor,
    recipe: Recipe,
    lesson: Lesson | None = None,
    teachers: Sequence[Teacher] = (),
) -> Tensor:
    """The whole loss of a batch, by the weights of the recipe.

    `truth` is (B, classes); what a row lacks of 1 is of no kind, and wants even scores there
    (Hendrycks et al. 2019, "Deep Anomaly Detection with Outlier Exposure").
    """
    assert output.logits is not None
    logits = output.logits.float()
    kinds = logits.shape[1]
    known = truth.sum(1, keepdim=True)
    wanted = truth + (1 - known) / kinds
    loss = functional.cross_entropy(logits, wanted, label_smoothing=recipe.label_smoothing)
    if lesson is not None:
        told = distance(logits, lesson.scores, recipe.distil_temperature)
        loss = (1 - recipe.distil) * loss + recipe.distil * told
    if recipe.familiar:
        # Liu et al. 2020, "Energy-based Out-of-distribution Detection"
        energy = logits.logsumexp(1) - math.log(kinds)
        loss = loss + recipe.familiar * functional.binary_cross_entropy_with_logits(
            energy, known[:, 0].clamp(0, 1)
        )
    if lesson is None:
        return loss
    theirs, ours = lesson.audioset_logits, output.audioset_logits
    if recipe.audioset and theirs is not None and ours is not None:
        each = functional.binary_cross_entropy_with_logits(ours, theirs.sigmoid(), reduction="none")
        loss = loss + recipe.audioset * each.sum(1).mean() / SHARE
    if recipe.imitate and output.features is not None and lesson.features is not None:
        made = stem_features(teachers[0].model, output.features)
        loss = loss + recipe.imitate * functional.smooth_l1_loss(made, lesson.features)
    return loss
