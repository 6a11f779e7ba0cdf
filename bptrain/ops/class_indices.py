"""Class indices as targets: which samples count, and how much. Shared by the losses of classes."""

import torch
from torch import Tensor

from bptrain.ops.reduction import checked_constant


def index_and_weights(
    t: Tensor, w: Tensor | None, ignore_index: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return of classes t [N, ...] the index, whether it counts, and its weight, each [N, 1, ...].

    The index of an ignored sample is 0 and its weight 0. The backward pass computes all three
    from t and w again: they are N numbers each, where the logits are NK.
    """
    t = t.unsqueeze(1)
    counts = t != ignore_index
    index = t * counts
    w_n = counts.to(dtype) if w is None else w.to(dtype)[index] * counts
    return index, counts, w_n


def checked_classes(input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """Raise ValueError unless target [N, ...] holds class indices for input [N, K, ...]."""
    if target.dtype != torch.int64:
        raise ValueError(f"target has dtype {target.dtype}, expected class indices, torch.int64")
    if input.dim() == 0 or target.shape != input.shape[:1] * (input.dim() > 1) + input.shape[2:]:
        raise ValueError(
            f"input has shape {list(input.shape)} and target {list(target.shape)}: expected "
            "[N, K, ...] and [N, ...], or [K] and a scalar"
        )
    if input.shape[min(1, input.dim() - 1)] == 0 and target.numel() > 0:
        raise ValueError(f"input has shape {list(input.shape)}, expected one class or more")
    checked_class_weights(input, weight)
    checked_constant(weight=weight)


def checked_class_weights(input: Tensor, weight: Tensor | None) -> None:
    """Raise ValueError unless `weight` has one number for each class of input [N, K, ...]."""
    classes = input.shape[min(1, input.dim() - 1)]
    if weight is not None and weight.shape != (classes,):
        raise ValueError(
            f"weight has shape {list(weight.shape)}, expected [{classes}]: one for each class"
        )
