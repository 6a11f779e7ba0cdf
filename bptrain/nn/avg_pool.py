"""torch.nn's AvgPool1d and AvgPool2d with the backward pass of `bptrain.ops.avg_pool`."""

import torch
from torch import Tensor

from bptrain.ops.avg_pool import avg_pool1d, avg_pool2d


class AvgPool1d(torch.nn.AvgPool1d):
    """The mean of each window along the last axis."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the means of input [N, C, W] or [C, W]."""
        return avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )


class AvgPool2d(torch.nn.AvgPool2d):
    """The mean of each window of a plane."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the means of input [N, C, H, W] or [C, H, W]."""
        return avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )
