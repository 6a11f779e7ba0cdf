"""torch.nn.InstanceNorm1d, 2d and 3d with the backward pass of `bptrain.ops.instance_norm`."""

import warnings

import torch
from torch import Tensor
from torch.nn.modules.instancenorm import _InstanceNorm

from bptrain.ops.instance_norm import instance_norm


class InstanceNorm1d(torch.nn.InstanceNorm1d):
    """Instance normalization of input [N, C, L] or [C, L]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input; in training update the running statistics, if any."""
        return _normalized(self, input, 1)


class InstanceNorm2d(torch.nn.InstanceNorm2d):
    """Instance normalization of input [N, C, H, W] or [C, H, W]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input; in training update the running statistics, if any."""
        return _normalized(self, input, 2)


class InstanceNorm3d(torch.nn.InstanceNorm3d):
    """Instance normalization of input [N, C, D, H, W] or [C, D, H, W]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input; in training update the running statistics, if any."""
        return _normalized(self, input, 3)


def _normalized(module: _InstanceNorm, input: Tensor, axes: int) -> Tensor:
    """Return the normalized input, which has `axes` spatial axes."""
    if input.dim() not in (axes + 1, axes + 2):
        raise ValueError(
            f"input has shape {list(input.shape)}, expected {axes + 2} axes, or {axes + 1} "
            "for one sample"
        )
    channels = input.shape[-axes - 1]
    if channels != module.num_features and module.running_mean is None and not module.affine:
        warnings.warn(
            f"input has {channels} channels and num_features is {module.num_features}, which "
            "nothing uses as affine is False",
            stacklevel=3,
        )
    is_one_sample = input.dim() == axes + 1
    y = instance_norm(
        input.unsqueeze(0) if is_one_sample else input,
        module.running_mean,
        module.running_var,
        module.weight,
        module.bias,
        module.training or not module.track_running_stats,
        0.0 if module.momentum is None else module.momentum,
        module.eps,
    )
    return y.squeeze(0) if is_one_sample else y
