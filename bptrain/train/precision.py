"""The precision of training: the dtype of the forward pass and the loss.

fp32   everything in float32
bf16   products in bfloat16, by autocast: float32's range with 8 bits of digits
fp16   products in float16: 11 bits of digits, but nothing above 65504 and little below 6e-8

Weights, their gradients and the optimizer stay in float32. In fp16 small gradients would
underflow in the backward pass, so the loss is multiplied by a scale, and the parameters'
gradients are divided by it before anything reads them. A step whose gradients overflow
is skipped, weights and optimizer unchanged, and the scale is halved; after 2000 steps without
one it is doubled.
Source: Micikevicius et al. 2018, "Mixed precision training", section 3.2; torch.amp.GradScaler.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bptrain.errors import NonFiniteError, UsageError
from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.stateful import PlainState, Tree
from bptrain.train.withholding import Withholding

PrecisionName = Literal["fp32", "bf16", "fp16"]

DTYPES: dict[PrecisionName, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
TRACKED = "_growth_tracker"  # steps since the last one that was skipped
SMALLEST_SCALE = 1.0  # below it the gradients overflow without any scaling


class ScalerState(PlainState):
    """The saved state of fp16's gradient scaler."""

    scale: float
    growth_tracker: int = Field(ge=0)
    has_stepped: bool


class Precision:
    """How the forward pass computes: dtype, device and kernels; in fp16 the scale of the gradients.

    The order within a step: `scaled` for the loss before the backward pass, `unscale` once all
    gradients of the step are accumulated, then reading and clipping them, then `step`.
    """

    def __init__(
        self, dtype: torch.dtype, device: torch.device, kernels: Kernels = "fused"
    ) -> None:
        self.dtype, self.device, self.kernels = dtype, device, kernels
        self._scaler = torch.amp.GradScaler(device.type) if dtype == torch.float16 else None
        self._has_stepped = False
        self._skips: bool | None = None  # known from `unscale` to `step`

    @classmethod
    def of(
        cls, name: PrecisionName, device: torch.device, kernels: Kernels = "fused"
    ) -> "Precision":
        """Return the precision of that name, or raise UsageError if the device lacks it."""
        why = _lack(name, device)
        if why:
            other = "fp32 or fp16" if name == "bf16" else "fp32"
            raise UsageError(f"precision {name} on {device}", why, f"precision: {other}")
        return cls(DTYPES[name], device, kernels)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Run the forward pass and the loss, of training or evaluation, inside this block."""
        with use_kernels(self.kernels):
            if self.dtype == torch.float32:
                yield
                return
            with torch.autocast(self.device.type, self.dtype):
                yield

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss to call `backward` on: in fp16 times the scale."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    @property
    def scales(self) -> bool:
        """Whether gradients are scaled, and a step whose gradients overflow is skipped."""
        return self._scaler is not None

    def unscale(
        self, optimizer: torch.optim.Optimizer, withholding: Withholding | None = None
    ) -> None:
        """Divide the gradients by the scale, in place; once a step, before they are read.

        withholding  whether the update is withheld whatever the gradients are
        """
        if self._scaler is None:
            return
        if withholding is not None:  # the scaler looks at the gradients alone
            first = next(p.grad for p in parameters_of(optimizer) if p.grad is not None)
            first += withholding.nothing
        self._scaler.unscale_(optimizer)
        self._skips = not self._has_stepped and not _all_finite(optimizer)

    def step(
        self, optimizer: torch.optim.Optimizer, withholding: Withholding | None = None
    ) -> None:
        """Update the weights; in fp16, skip the update if a gradient was not finite at `unscale`.

        withholding  whether the update is withheld; in fp16 `unscale` is told

        An optimizer without a fused kernel makes the host wait for the device here.
        """
        if self._scaler is None:
            _step_unless(withholding, optimizer)
            return
        if self._skips is None:
            self.unscale(optimizer)
        # if torch's fused SGD skips its very first step, its momentum stays uninitialized memory
        # that later steps use. Until one step was taken, the host decides, which costs a wait
        # for the device; afterwards the optimizer's kernels skip by themselves.
        if not self._skips:
            self._scaler.step(optimizer)
            self._has_stepped = True
        self._scaler.update()
        self._skips = None

    @property
    def scale(self) -> Tensor | None:
        """The scale of the next step, a copy on the device; None where nothing is scaled."""
        if self._scaler is None:
            return None
        return self._scaler.scale(torch.ones((), device=self.device))

    def state(self) -> dict[str, Any]:
        """Return the scaler's state as plain values; this waits for the device."""
        if self._scaler is None:
            return {}
        own = self._scaler.state_dict()
        return {
            "scale": own["scale"],
            "growth_tracker": own[TRACKED],
            "has_stepped": self._has_stepped,
        }

    def restore(self, state: Tree) -> None:
        """Continue from a `state`; the state of fp32 and bf16 is empty."""
        if self._scaler is not None and state != {}:
            saved = ScalerState.read(state)
            own = self._scaler.state_dict()  # its options are its defaults, never a file's
            own |= {"scale": saved.scale, TRACKED: saved.growth_tracker}
            self._scaler.load_state_dict(own)
            self._has_stepped = saved.has_stepped


def refuse_lost_scale(scale: float, step: int) -> None:
    """Raise NonFiniteError if the scale, read after `step`, has fallen below 1.

    Some skipped steps are normal in fp16; a scale below 1 means that no scale was small enough.
    """
    if scale < SMALLEST_SCALE:
        raise NonFiniteError(
            f"the gradients overflow fp16 at every scale, the last of them {scale:g}, "
            f"at step {step}",
            "the loss or a gradient is above 65504, or not finite at all",
            "precision: bf16 or fp32, or a smaller optimizer.lr",
        )


def _lack(name: PrecisionName, device: torch.device) -> str:
    """Return why the device cannot compute in the precision; "" if it can."""
    if name == "fp32":
        return ""
    if not torch.amp.is_autocast_available(device.type):
        return f"torch has no autocast on {device.type}"
    if name == "bf16" and device.type == "cuda" and torch.version.hip is None:
        major, minor = torch.cuda.get_device_capability(device)
        if major < 8:  # torch would emulate it, slower than float32
            return f"the GPU is of compute capability {major}.{minor}, bfloat16 needs 8.0"
    return ""


def _step_unless(withholding: Withholding | None, optimizer: torch.optim.Optimizer) -> None:
    """Take an optimizer's step, unless it is withheld."""
    if withholding is None:
        optimizer.step()
    elif not getattr(optimizer, "_step_supports_amp_scaling", False):
        if not withholding.withheld:
            optimizer.step()
    else:
        optimizer.found_inf = withholding.withheld  # type: ignore[attr-defined]  # as GradScaler
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf  # type: ignore[attr-defined]


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return the parameters that an optimizer updates."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def _all_finite(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether every gradient is finite; this waits for the device."""
    grads = [p.grad for p in parameters_of(optimizer) if p.grad is not None]
    # the largest magnitude, because the sum of squares of finite numbers could overflow
    largest = torch.stack(torch._foreach_norm(grads, inf))
    return bool(largest.isfinite().all())
