"""torch.nn's Hardtanh and ReLU6 with the backward pass of `bptrain.ops.hardtanh`."""

import torch
from torch import Tensor

from bptrain.ops.hardtanh import hardtanh, relu6


class Hardtanh(torch.nn.Hardtanh):
    """x clamped to min_val and max_val."""

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: None = None,
        max_value: None = None,
    ) -> None:
        if min_value is not None or max_value is not None:
            raise NotImplementedError(
                "min_value and max_value are not offered: torch deprecated them, use min_val and "
                "max_val"
            )
        super().__init__(min_val, max_val, inplace)

    def forward(self, input: Tensor) -> Tensor:
        """Return hardtanh(input)."""
        return hardtanh(input, self.min_val, self.max_val, inplace=self.inplace)


class ReLU6(torch.nn.ReLU6):
    """min(max(x, 0), 6)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return relu6(input)."""
        return relu6(input, inplace=self.inplace)
