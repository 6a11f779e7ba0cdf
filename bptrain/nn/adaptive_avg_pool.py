"""torch.nn's adaptive means with the backward pass of `bptrain.ops.adaptive_avg_pool`."""

import torch
from torch import Tensor

from bptrain.ops.adaptive_avg_pool import adaptive_avg_pool1d, adaptive_avg_pool2d


class AdaptiveAvgPool1d(torch.nn.AdaptiveAvgPool1d):
    """The mean of each window along the last axis, for a given output size."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the means of input [N, C, W] or [C, W]."""
        return adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(torch.nn.AdaptiveAvgPool2d):
    """The mean of each window of a plane, for a given output size."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the means of input [N, C, H, W] or [C, H, W]."""
        return adaptive_avg_pool2d(input, self.output_size)
