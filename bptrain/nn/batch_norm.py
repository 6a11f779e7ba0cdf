"""torch.nn.BatchNorm1d, 2d and 3d with the backward pass of `bptrain.ops.batch_norm`."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bptrain.ops.batch_norm import batch_norm


class BatchNorm1d(torch.nn.BatchNorm1d):
    """Batch normalization of input [N, C] or [N, C, L]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input; in training update the running statistics."""
        return _normalized(self, input, (2, 3))


class BatchNorm2d(torch.nn.BatchNorm2d):
    """Batch normalization of input [N, C, H, W]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input; in training update the running statistics."""
        return _normalized(self, input, (4,))


class BatchNorm3d(torch.nn.BatchNorm3d):
    """Batch normalization of input [N, C, D, H, W]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input; in training update the running statistics."""
        return _normalized(self, input, (5,))


def _normalized(module: _BatchNorm, input: Tensor, axes: tuple[int, ...]) -> Tensor:
    if input.dim() not in axes:
        expected = " or ".join(map(str, axes))
        raise ValueError(f"input has shape {list(input.shape)}, expected {expected} axes")
    mean, variance = module.running_mean, module.running_var
    if module.training and not module.track_running_stats:
        mean = variance = None
    counter = module.num_batches_tracked
    if module.training and mean is not None and variance is not None and counter is not None:
        counter.add_(1)
        if module.momentum is None:
            return _averaged_over_all(module, input, mean, variance)
    by_batch = module.training or mean is None
    momentum = 0.0 if module.momentum is None else module.momentum
    return batch_norm(
        input, mean, variance, module.weight, module.bias, by_batch, momentum, module.eps
    )


def _averaged_over_all(module: _BatchNorm, input: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Return the normalized input; update the running statistics to the mean over all batches."""
    own = mean.clone(), variance.clone()  # with a momentum of 1 they become this batch's
    y = batch_norm(input, *own, module.weight, module.bias, True, 1.0, module.eps)
    # cumulative mean: weight 1/n; a tensor, because a Python number would cost a sync
    part = module.num_batches_tracked.to(mean.dtype).reciprocal()  # type: ignore[union-attr]
    mean.lerp_(own[0], part)
    variance.lerp_(own[1], part)
    return y
