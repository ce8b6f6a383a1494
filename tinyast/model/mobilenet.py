"""MobileNetV3's blocks (Howard et al. 2019), at the sizes of EfficientAT's mn04.

Batch norm is not here: once trained it is a factor and an offset for each channel, which the
convolution before it takes over (`tinyast.training.pretrained`). A third of the time of a step of
training goes with it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

FIRST, LAST = 8, 384  # channels of the first and of the last convolution
HIDDEN, CLASSES = 512, 527  # of the head that scores AudioSet's classes


class Shape(NamedTuple):
    """One inverted residual block."""

    kernel: int
    expanded: int  # channels in the middle
    outputs: int  # channels
    squeezed: int  # channels of squeeze-and-excitation; 0: there is none
    hard_swish: bool  # else ReLU
    stride: int


SHAPES = (
    Shape(3, 8, 8, 0, False, 1),
    Shape(3, 24, 16, 0, False, 2),
    Shape(3, 32, 16, 0, False, 1),
    Shape(5, 32, 16, 8, False, 2),
    Shape(5, 48, 16, 16, False, 1),
    Shape(5, 48, 16, 16, False, 1),
    Shape(3, 96, 32, 0, True, 2),
    Shape(3, 80, 32, 0, True, 1),
    Shape(3, 72, 32, 0, True, 1),
    Shape(3, 72, 32, 0, True, 1),
    Shape(3, 192, 48, 48, True, 1),
    Shape(3, 272, 48, 72, True, 1),
    Shape(5, 272, 64, 72, True, 2),
    Shape(5, 384, 64, 96, True, 1),
    Shape(5, 384, 64, 96, True, 1),
)
HALVINGS = 1 + sum(shape.stride == 2 for shape in SHAPES)


def cells(size: int) -> int:
    """Tokens along a side of `size` bands or columns."""
    for _ in range(HALVINGS):
        size = (size + 1) // 2
    return size


def convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution that keeps the size of the picture, but for its stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)


class SqueezeExcitation(nn.Module):
    """A gain for each channel, from the means of all (Hu et al. 2018): (B, C, H, W) to the same."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, squeezed)
        self.excite = nn.Linear(squeezed, channels)

    def forward(self, cells: Tensor) -> Tensor:
        gains = torch.sigmoid(self.excite(torch.relu(self.squeeze(cells.mean((2, 3))))))
        return cells * gains[:, :, None, None]


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, weigh the channels, project."""

    def __init__(self, inputs: int, shape: Shape) -> None:
        super().__init__()
        wide = shape.expanded
        activation = nn.Hardswish if shape.hard_swish else nn.ReLU
        layers: list[nn.Module] = []
        if wide != inputs:
            layers += [convolution(inputs, wide), activation(inplace=True)]
        depthwise = convolution(wide, wide, shape.kernel, shape.stride, groups=wide)
        layers += [depthwise, activation(inplace=True)]
        if shape.squeezed:
            layers.append(SqueezeExcitation(wide, shape.squeezed))
        layers.append(convolution(wide, shape.outputs))
        self.layers = nn.Sequential(*layers)
        self.residual = shape.stride == 1 and inputs == shape.outputs

    def forward(self, cells: Tensor) -> Tensor:
        made: Tensor = self.layers(cells)
        return cells + made if self.residual else made


class MobileNet(nn.Module):
    """(B, 1, bands, columns) to (B, 384, `cells(bands)`, `cells(columns)`)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(1, FIRST, 3, 2), nn.Hardswish(inplace=True)]
        channels = FIRST
        for shape in SHAPES:
            layers.append(InvertedResidual(channels, shape))
            channels = shape.outputs
        layers += [convolution(channels, LAST), nn.Hardswish(inplace=True)]
        self.layers = nn.Sequential(*layers)

    def forward(self, picture: Tensor) -> Tensor:
        # Channels last is the faster layout for small convolutions on a CPU.
        made: Tensor = self.layers(picture.contiguous(memory_format=torch.channels_last))
        return made


class AudioSetHead(nn.Module):
    """Scores of AudioSet's 527 classes, of the mean of all cells: (B, 384)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(LAST, HIDDEN)
        self.scores = nn.Linear(HIDDEN, CLASSES)

    def forward(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """What the last layer is given, (B, 512), and its logits, (B, 527), for a sigmoid each."""
        hidden = nn.functional.hardswish(self.hidden(mean))
        return hidden, self.scores(hidden)


class Stretch(nn.Module):
    """A small picture, (B, rows, columns), as large as the network learnt to look at.

    Both sides are interpolated, by matrices that go on learning. Of the `used` rows below 8 kHz
    there is something to see; the rows above are empty, as they were in training.
    """

    def __init__(
        self, rows: int, columns: int, bands: int, frames: int, used: int, floor: float
    ) -> None:
        super().__init__()
        upright = torch.zeros(bands, rows)
        upright[:used] = interpolation(used, rows)
        self.rows = nn.Parameter(upright)
        self.columns = nn.Parameter(interpolation(frames, columns).T.contiguous())
        offset = torch.zeros(bands, 1)
        offset[used:] = floor
        self.offset = nn.Parameter(offset)

    def forward(self, picture: Tensor) -> Tensor:
        stretched: Tensor = self.rows @ picture @ self.columns + self.offset
        return stretched


def interpolation(outputs: int, inputs: int) -> Tensor:
    """Weights that read `inputs` cells at `outputs` even places, (outputs, inputs)."""
    places = (torch.arange(outputs) + 0.5) * inputs / outputs - 0.5
    distance = (places.clamp(0, inputs - 1)[:, None] - torch.arange(inputs)).abs()
    return (1 - distance).clamp_min(0)
