"""torch.cat as a module, with the backward pass of `bptrain.ops.cat`; torch.nn has none."""

import torch
from torch import Tensor

from bptrain.ops.cat import cat


class Concat(torch.nn.Module):
    """Tensors concatenated along `dim`, by default their channels."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the concatenated tensors."""
        return cat(tensors, self.dim)

    def extra_repr(self) -> str:
        """Return the arguments that the repr shows."""
        return f"dim={self.dim}"
