"""Normalizations over so few values that nothing is left to differentiate.

Two values minus their mean, divided by their standard deviation, are 1 and -1 whatever they were:
the gradient by the input is 0 but for eps, and what a computer returns is mostly rounding.
"""

from math import prod

import torch
from torch import Tensor

FEW = 2
BATCH_NORM = torch.nn.modules.batchnorm._BatchNorm  # of 1 to 3 dimensions, ours and torch's
INSTANCE_NORM = {torch.nn.InstanceNorm1d: 1, torch.nn.InstanceNorm2d: 2, torch.nn.InstanceNorm3d: 3}


def too_few_values(module: torch.nn.Module, input: Tensor) -> str:
    """Return why the gradient by the input cannot be compared; "" where it can."""
    values = _values_per_statistic(module, input)
    if values is None or values > FEW:
        return ""
    each = f"{values} value{'s' * (values > 1)}"
    return (
        f"it normalizes over {each}, which leaves nothing of the input to differentiate: the "
        "gradient by the input is not judged. Give check more samples, or larger ones"
    )


def _values_per_statistic(module: torch.nn.Module, input: Tensor) -> int | None:
    """Return how many values each mean is taken over; None if the module computes none."""
    by_given = not module.training and getattr(module, "running_mean", None) is not None
    if by_given or input.numel() == 0:
        return None
    if isinstance(module, BATCH_NORM) and input.dim() > 1:
        return input.numel() // input.shape[1]
    if isinstance(module, torch.nn.LayerNorm):
        return prod(module.normalized_shape)
    if isinstance(module, torch.nn.GroupNorm):
        return input.numel() // (input.shape[0] * module.num_groups)
    axes = [axes for kind, axes in INSTANCE_NORM.items() if isinstance(module, kind)]
    return prod(input.shape[-axes[0] :]) if axes else None
