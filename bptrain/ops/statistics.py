"""What the normalizations share: dtypes of statistics, sums by channel, layouts and checks."""

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

Parameter = TypeVar("Parameter", bound=Tensor | None)
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
NARROW = (torch.bfloat16, torch.float16)


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    w: bool
    b: bool


def as_parameter(x: Tensor, parameter: Parameter) -> Parameter:
    """Return a weight, bias or statistic in the dtype that makes the kernels compute in float32.

    Symptom: 16-bit gradients wrong in the first digit where the mean is large. Cause: on the CPU
    the kernels hold the statistics in the dtype of the parameters, and with 8 bits a mean
    of 100 is off by up to 0.25. Remedy: parameters in float32. On CUDA they hold float32 anyway.
    """
    if parameter is None or not _is_narrow_on_cpu(x):
        return parameter
    return parameter.float()  # type: ignore[return-value]


def as_parameters(
    x: Tensor, w: Tensor | None, b: Tensor | None, shape: tuple[int, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return weight and bias likewise; without a weight, ones [shape] give the dtype."""
    if w is None and _is_narrow_on_cpu(x):
        w = x.new_ones(shape)
    return as_parameter(x, w), as_parameter(x, b)


def wide_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of the statistics of x: float32 or wider."""
    return torch.promote_types(x.dtype, torch.float32)


def along_channels(values: Tensor, x: Tensor) -> Tensor:
    """Return values [C] with an axis for each further axis of x [N, C, ...]."""
    return values.view(-1, *[1] * (x.dim() - 2))


def sum_by_channel(values: Tensor) -> Tensor:
    """Return the sum of each channel [C] of values [N, C, ...]."""
    return values.sum([0, *range(2, values.dim())])


def fused_parameter_gradients(
    grad_y: Tensor, x: Tensor, m: Tensor, r: Tensor, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return w' = sum y' h and b' = sum y' [C] of a batch, in one pass over memory."""
    if x.numel() == 0:  # the kernel fails on it
        return m.new_zeros(m.shape), m.new_zeros(m.shape) if needs.b else None
    # gives the kernel the shape and dtype of w'; no number of it is read
    like_w = torch.empty_like(m)
    _, grad_w, grad_b = torch.ops.aten.native_batch_norm_backward(
        grad_y, x, like_w, None, None, m, r, True, 0.0, [False, needs.w, needs.b]
    )
    return grad_w, grad_b


def _is_narrow_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in NARROW


def placeholder(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a parameter [shape] of which a kernel reads only the shape and dtype."""
    return x.new_empty(shape, dtype=torch.float32 if _is_narrow_on_cpu(x) else x.dtype)


def checked_normalized_shape(
    input: Tensor, shape: tuple[int, ...], **parameters: Tensor | None
) -> None:
    """Raise ValueError unless input ends with the axes `shape` and each parameter has them."""
    if not shape or input.shape[-len(shape) :] != shape:
        raise ValueError(
            f"input has shape {list(input.shape)}, expected it to end with the axes of "
            f"normalized_shape, {list(shape)}"
        )
    for name, tensor in parameters.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} has shape {list(tensor.shape)}, expected {list(shape)}")


def checked_by_channel(input: Tensor, **parameters: Tensor | None) -> None:
    """Raise ValueError unless input is [N, C, ...] and each named parameter or statistic [C]."""
    if input.dim() < 2:
        raise ValueError(f"input has shape {list(input.shape)}, expected [N, C, ...]")
    for name, tensor in parameters.items():
        if tensor is not None and tensor.shape != input.shape[1:2]:
            raise ValueError(
                f"{name} has shape {list(tensor.shape)}, expected [{input.shape[1]}], one value "
                "for each channel of input"
            )
