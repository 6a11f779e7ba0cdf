"""torch.nn.ConvTranspose1d and 2d with the backward pass of `bptrain.ops.conv_transpose`."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from bptrain.ops.conv_transpose import conv_transpose1d, conv_transpose2d

Options = tuple[Sequence[int], Sequence[int], Sequence[int], int, Sequence[int]]
ConvTranspose = torch.nn.ConvTranspose1d | torch.nn.ConvTranspose2d


class ConvTranspose1d(torch.nn.ConvTranspose1d):
    """Transposed convolution of [N, in_channels, length]; N may be missing."""

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Return y [N, out_channels, length], as long as `output_size` asks, if it is given."""
        options = _options(self, input, output_size, 1)
        return conv_transpose1d(input, self.weight, self.bias, *options)


class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """Transposed convolution of [N, in_channels, height, width]; N may be missing."""

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Return y [N, out_channels, rows, columns], of `output_size` if it is given."""
        options = _options(self, input, output_size, 2)
        return conv_transpose2d(input, self.weight, self.bias, *options)


def _options(
    module: ConvTranspose, input: Tensor, output_size: Sequence[int] | None, axes: int
) -> Options:
    """Return stride, padding, output_padding, groups and dilation for an output of that size."""
    stride, dilation = module.stride, module.dilation
    padding = cast("tuple[int, ...]", module.padding)  # a padding mode string fails in torch too
    sizes = None if output_size is None else list(output_size)
    geometry = (list(stride), list(padding), list(module.kernel_size))
    # torch's own arithmetic, with its ValueError where no output_padding reaches the size
    extra = module._output_padding(input, sizes, *geometry, axes, list(dilation))
    return stride, padding, extra, module.groups, dilation
