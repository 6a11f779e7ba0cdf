"""torch.nn.Upsample with the backward pass of `bptrain.ops.upsample`."""

import torch
from torch import Tensor

from bptrain.ops.upsample import checked_mode, interpolate


class Upsample(torch.nn.Upsample):
    """Resize input along its last one, two or three axes."""

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        checked_mode(mode)
        super().__init__(size, scale_factor, mode, align_corners, recompute_scale_factor)

    def forward(self, input: Tensor) -> Tensor:
        """Return input [N, C, W], [N, C, H, W] or [N, C, D, H, W] resized."""
        return interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
        )
