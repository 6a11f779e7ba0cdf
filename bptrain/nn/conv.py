"""torch.nn.Conv1d, 2d and 3d with the backward pass of `bptrain.ops.conv`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.ops.conv import conv1d, conv2d, conv3d
from bptrain.ops.pad import Mode, pad

Conv = torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d


class Conv1d(torch.nn.Conv1d):
    """Convolution of [N, in_channels, length]; N may be missing."""

    def forward(self, input: Tensor) -> Tensor:
        """Return y [N, out_channels, length_out]."""
        input, padding = _padded(self, input)
        rest = (self.stride, padding, self.dilation, self.groups)
        return conv1d(input, self.weight, self.bias, *rest)


class Conv2d(torch.nn.Conv2d):
    """Convolution of [N, in_channels, height, width]; N may be missing."""

    def forward(self, input: Tensor) -> Tensor:
        """Return y [N, out_channels, rows, columns]."""
        input, padding = _padded(self, input)
        rest = (self.stride, padding, self.dilation, self.groups)
        return conv2d(input, self.weight, self.bias, *rest)


class Conv3d(torch.nn.Conv3d):
    """Convolution of [N, in_channels, depth, height, width]; N may be missing."""

    def forward(self, input: Tensor) -> Tensor:
        """Return y [N, out_channels, slices, rows, columns]."""
        input, padding = _padded(self, input)
        rest = (self.stride, padding, self.dilation, self.groups)
        return conv3d(input, self.weight, self.bias, *rest)


def _padded(module: Conv, input: Tensor) -> tuple[Tensor, str | tuple[int, ...]]:
    """Return the padded input and the remaining padding: zero padding needs no copy here."""
    widths = module._reversed_padding_repeated_twice  # torch's own, 'same' worked out
    if module.padding_mode == "zeros" or not any(widths):
        return input, module.padding
    return pad(input, widths, cast("Mode", module.padding_mode)), "valid"
