"""torch.nn.BatchNorm1d, 2d and 3d with the backward pass of `bptrain.ops.batch_norm`."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bptrain.ops.batch_norm import batch_norm


class BatchNorm1d(torch.nn.BatchNorm1d):
    """Batch normalisation of input [N, C] or [N, C, L]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input; in training move the running statistics."""
        return _normalized(self, input, (2, 3))


class BatchNorm2d(torch.nn.BatchNorm2d):
    """Batch normalisation of input [N, C, H, W]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input; in training move the running statistics."""
        return _normalized(self, input, (4,))


class BatchNorm3d(torch.nn.BatchNorm3d):
    """Batch normalisation of input [N, C, D, H, W]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input; in training move the running statistics."""
        return _normalized(self, input, (5,))


def _normalized(module: _BatchNorm, input: Tensor, axes: tuple[int, ...]) -> Tensor:
    if input.dim() not in axes:
        expected = " or ".join(map(str, axes))
        raise ValueError(f"input has shape {list(input.shape)}, expected {expected} axes")
    running = module.running_mean, module.running_var
    if module.training and not module.track_running_stats:
        running = None, None
    momentum: float | Tensor = 0.0 if module.momentum is None else module.momentum
    if module.training and running[0] is not None and module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
        if module.momentum is None:  # the average of all batches: the n-th moves it by 1/n
            momentum = module.num_batches_tracked.to(running[0].dtype).reciprocal()
    by_batch = module.training or running[0] is None
    return batch_norm(input, *running, module.weight, module.bias, by_batch, momentum, module.eps)
