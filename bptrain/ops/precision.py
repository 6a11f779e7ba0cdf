"""Autocast: which dtype an operation computes in while `torch.autocast` is on.

torch gives each operation one of a few policies, and so do we:

    MATMUL               matrix products and convolutions: autocast's own dtype, bf16 or fp16
    float32_on("cpu")    sums that would lose digits: float32, on the device types named
    AS_GIVEN             everything else: the dtype of what comes in
    WIDEST               several inputs of one role, as in cat: the widest of their dtypes
    float32_loss("cpu")  losses: the result stays in float32, on the device types named

While an operation runs, autocast is off: its lines say themselves in which dtype they compute.
What it saves for the backward pass is therefore what it computed with, and autograd returns each
gradient in the dtype of its tensor. float64 is never cast, as in torch.
Source: torch's "Automatic mixed precision", the tables of operations by policy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def _no_cast(device_type: str, tensors: list[Tensor]) -> torch.dtype | None:
    return None


@dataclass(frozen=True)
class Precision:
    """The policy of one operation.

    cast         (device type, tensors of at most 32 bits) -> the dtype they are cast to, or None
    is_loss      whether the operation returns a loss, computed in float32 or wider whatever it is
                 given: autocast keeps it so on `loss_devices`, elsewhere it is rounded to the
                 widest dtype of the inputs. It is the result and not the inputs that this policy
                 casts: 16-bit logits are saved as they came, in half the memory of a float32 copy
    """

    cast: Callable[[str, list[Tensor]], torch.dtype | None] = _no_cast
    is_loss: bool = False
    loss_devices: tuple[str, ...] = ()

    def inputs(self, inputs: tuple[Any, ...], device_type: str) -> tuple[Any, ...]:
        """Return the inputs as the operation computes with them under autocast."""
        castable = [each for each in inputs if _is_castable(each)]
        dtype = self.cast(device_type, castable)
        if dtype is None:
            return inputs
        return tuple(each.to(dtype) if _is_castable(each) else each for each in inputs)

    def loss(self, loss: Tensor, inputs: tuple[Any, ...], under_autocast: bool) -> Tensor:
        """Return the loss in the dtype that torch would return it in."""
        floating = [each for each in inputs if _is_floating(each)]
        if not floating:
            given = [each.dtype for each in inputs if isinstance(each, Tensor)]
            raise ValueError(f"a loss of tensors of {given}, expected floating point: x.float()")
        if under_autocast and loss.device.type in self.loss_devices:
            return loss
        return loss.to(_widest(floating))


def float32_on(*device_types: str) -> Precision:
    """Return the policy that casts 16-bit tensors to float32 on devices of these types."""
    return Precision(lambda kind, tensors: torch.float32 if kind in device_types else None)


def float32_loss(*device_types: str) -> Precision:
    """Return the policy of losses that stay in float32 on devices of these types."""
    return Precision(is_loss=True, loss_devices=device_types)


MATMUL = Precision(lambda device_type, tensors: torch.get_autocast_dtype(device_type))
AS_GIVEN = Precision()
WIDEST = Precision(lambda device_type, tensors: _widest(tensors))


def widened_for_sums(x: Tensor) -> Tensor:
    """Return x in float32 or wider, for a sum of many of its elements.

    Symptom: gradients that are half or a tenth of what is right, such as 4 for 124. Cause: a sum
    held in bfloat16 stops growing at 256 times its terms, in float16 at 2,048; some of torch's
    kernels hold it so, and on a GPU all that add with atomic operations. Remedy: such a sum runs in
    float32 and is rounded once.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def autocast_device(tensors: Sequence[object]) -> str | None:
    """Return the device type of the first tensor if autocast is on there, else None."""
    for each in tensors:
        if isinstance(each, Tensor):
            # `meta` has no autocast
            is_on = not each.is_meta and torch.is_autocast_enabled(each.device.type)
            return each.device.type if is_on else None
    return None


def _is_floating(argument: object) -> bool:
    return isinstance(argument, Tensor) and argument.is_floating_point()


def _is_castable(argument: object) -> bool:
    return _is_floating(argument) and argument.dtype != torch.float64  # type: ignore[attr-defined]


def _widest(tensors: list[Tensor]) -> torch.dtype:
    widest = tensors[0].dtype
    for tensor in tensors[1:]:
        widest = torch.promote_types(widest, tensor.dtype)
    return widest
