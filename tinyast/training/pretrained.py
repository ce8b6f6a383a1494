"""Starting from EfficientAT's mn04: its file, and its weights without batch norm."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from tinyast.arrays import Float
from tinyast.data.download import ChecksumError, check_sum
from tinyast.data.pretrained import PRETRAINED, PRETRAINED_SHA256
from tinyast.errors import DataError
from tinyast.model.mobilenet import (
    SHAPES,
    AudioSetHead,
    MobileNet,
    SqueezeExcitation,
    Stretch,
)
from tinyast.model.modeling import MobileNetStem, TinyASTForAudioClassification

EPSILON = 1e-3  # of its batch norms
SETTLING = 256  # clips whose pictures the network is brought to
Weights = dict[str, Tensor]


def read_pretrained(path: Path) -> Weights:
    """The state dict in mn04's file. Raises DataError if it is missing or another file."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing: this recipe starts from weights that have heard AudioSet. Fetch "
            "them with `python -m scripts.download --pretrained`, or name their file with "
            "--pretrained"
        )
    try:
        check_sum(path, PRETRAINED_SHA256)
    except ChecksumError as error:
        raise DataError(f"{path} is not {PRETRAINED}: {error}. Fetch it again") from error
    weights: Weights = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def begin_with(model: TinyASTForAudioClassification, weights: Weights, pictures: Float) -> None:
    """Put mn04's weights into a model's stem; `pictures`, (n, n_mels, n_frames), it is to see.

    Where those are stretched, the network is brought to them (`settle`).
    """
    stem = model.stem
    if not isinstance(stem, MobileNetStem):
        raise DataError(f"a stem of {model.config.stem!r} cannot start from {PRETRAINED}")
    load_into(stem.network, stem.audioset, weights)
    if isinstance(stem.stretch, Stretch):
        with torch.no_grad():
            stretched = stem.stretch(torch.from_numpy(pictures))
        settle(stem.network, weights, stretched.unsqueeze(1))


def load_into(network: MobileNet, head: AudioSetHead, weights: Weights) -> None:
    """Put mn04's weights into a network without batch norm and its head."""
    convolutions = iter(m for m in network.modules() if isinstance(m, nn.Conv2d))
    squeezes = iter(m for m in network.modules() if isinstance(m, SqueezeExcitation))
    for place, norm in _pairs(weights):
        _fold(next(convolutions), weights, place, norm)
    for number, shape in enumerate(SHAPES, start=1):
        if shape.squeezed:
            prefix = f"features.{number}.block.2.conc_se_layers.0"
            module = next(squeezes)
            _linear(module.squeeze, weights, f"{prefix}.fc1")
            _linear(module.excite, weights, f"{prefix}.fc2")
    _linear(head.hidden, weights, "classifier.2")
    _linear(head.scores, weights, "classifier.5")


def _pairs(weights: Weights) -> list[tuple[str, str]]:
    """Names of each convolution and of its batch norm, in order of execution."""
    places = [name.removesuffix(".weight") for name, w in weights.items() if w.ndim == 4]
    return [(place, f"{place.rpartition('.')[0]}.1") for place in places]


@torch.no_grad()
def _fold(convolution: nn.Conv2d, weights: Weights, place: str, norm: str) -> None:
    """A convolution and the batch norm after it, as one convolution with a bias."""
    spread = torch.sqrt(weights[f"{norm}.running_var"] + EPSILON)
    factor = weights[f"{norm}.weight"] / spread
    convolution.weight.copy_(weights[f"{place}.weight"] * factor[:, None, None, None])
    assert convolution.bias is not None
    convolution.bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * factor)


@torch.no_grad()
def _linear(module: nn.Linear, weights: Weights, place: str) -> None:
    module.weight.copy_(weights[f"{place}.weight"])
    module.bias.copy_(weights[f"{place}.bias"])


@torch.no_grad()
def settle(network: MobileNet, weights: Weights, pictures: Tensor) -> None:
    """Bring what each convolution gives to the mean and spread that it had on AudioSet.

    `pictures`, (B, 1, bands, columns), are not such as mn04 knew; batch norm would do the same
    (Li et al. 2016, "Revisiting Batch Normalization For Practical Domain Adaptation").
    """
    norms = {}
    for place, norm in _pairs(weights):
        norms[place] = weights[f"{norm}.weight"].abs(), weights[f"{norm}.bias"]
    wanted = iter(norms.values())

    def correct(module: nn.Module, _: object, given: Tensor) -> Tensor:
        assert isinstance(module, nn.Conv2d)
        assert module.bias is not None
        spread, middle = next(wanted)
        factor = spread / given.std((0, 2, 3)).clamp_min(1e-6)
        offset = middle - given.mean((0, 2, 3)) * factor
        module.weight.mul_(factor[:, None, None, None])
        module.bias.mul_(factor).add_(offset)
        return given * factor[:, None, None] + offset[:, None, None]

    hooks = [m.register_forward_hook(correct) for m in network.modules() if _convolves(m)]
    try:
        network(pictures)
    finally:
        for hook in hooks:
            hook.remove()


def _convolves(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d)
