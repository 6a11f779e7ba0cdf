"""torch.nn's maxima over windows with the backward pass of `bptrain.ops.max_pool`."""

import torch
from torch import Tensor

from bptrain.ops.max_pool import adaptive_max_pool2d, max_pool1d, max_pool2d


class MaxPool1d(torch.nn.MaxPool1d):
    """The largest value in each window along the last axis."""

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the maxima of input [N, C, W] or [C, W], and their indices if asked for."""
        return max_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )


class MaxPool2d(torch.nn.MaxPool2d):
    """The largest value in each window of a plane."""

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the maxima of input [N, C, H, W] or [C, H, W], and their indices if asked for."""
        return max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )


class AdaptiveMaxPool2d(torch.nn.AdaptiveMaxPool2d):
    """The largest value in each window of a plane, for a given output size."""

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the maxima of input [N, C, H, W] or [C, H, W], and their indices if asked for."""
        return adaptive_max_pool2d(input, self.output_size, self.return_indices)
