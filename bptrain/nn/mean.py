"""A mean as a module, with the backward pass of `bptrain.ops.mean`; torch.nn has none."""

import torch
from torch import Tensor

from bptrain.ops.mean import mean


class Mean(torch.nn.Module):
    """The mean over the axes `dim`, by default over all."""

    def __init__(self, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> None:
        super().__init__()
        self.dim, self.keepdim = dim, keepdim

    def forward(self, input: Tensor) -> Tensor:
        """Return the mean."""
        return mean(input, self.dim, self.keepdim)

    def extra_repr(self) -> str:
        """Return the arguments that the repr shows."""
        return f"dim={self.dim}, keepdim={self.keepdim}"
