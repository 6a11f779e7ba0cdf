"""The rows of a whole training step: its gradients on the tape against autograd's engine."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.tape import Autograd, Engine, OffTapeError, Run, Step
from bptrain.verify.comparison import SMALLEST
from bptrain.verify.parity import GRADIENT, parity
from bptrain.verify.report import Oracle, Row

SAME = 1e-9  # relative, in float64: a fused operation may add in another order
NOISE = 1e-7  # of the largest gradient: what cancels leaves less
WHOLE = "the training step"
KERNELS: tuple[Kernels, ...] = ("fused", "formula")


def tape_rows(
    model: torch.nn.Module,
    loss: torch.nn.Module,
    inputs: tuple[Any, ...],
    targets: tuple[Any, ...],
) -> tuple[list[Row], list[str]]:
    """Return a row for each parameter, and a note if the step does not run on the tape.

    The step runs in float64, on copies, in the model's own mode, by the kernels and the formulas.
    """
    given = as_doubles(inputs), as_doubles(targets)
    rows: list[Row] = []
    with torch.random.fork_rng():
        state = torch.get_rng_state()
        for kernels in KERNELS:
            found = []
            for kind in (Step, Autograd):
                torch.set_rng_state(state)
                engine: Engine = kind(deepcopy(model).double(), deepcopy(loss).double())
                if isinstance(engine, Step):
                    engine.notices.by_autograd = _refuse
                try:
                    with use_kernels(kernels):
                        found.append(gradients_of(engine.begin(*given), engine.model))
                except OffTapeError as error:
                    return [], [f"the training step does not run on the tape: {error}"]
            rows += compared(found[0], found[1], kernels)
    return rows, []


def compared(
    ours: dict[str, Tensor],
    reference: dict[str, Tensor],
    kernels: Kernels,
    against: tuple[str, Oracle] = (WHOLE, "autograd's engine"),
) -> list[Row]:
    """Return a row for the loss and each parameter.

    against  what is compared, and with what
    """
    largest = max((float(each.abs().max()) for each in reference.values()), default=0.0)
    found = parity(ours, reference, max(SMALLEST, NOISE * largest))
    return [Row(against[0], "", kernels, against[1], each, SAME) for each in found]


def gradients_of(run: Run, model: torch.nn.Module) -> dict[str, Tensor]:
    """Run a step; return the loss, and each parameter's `.grad` by its name."""
    run.forward()
    found = {"loss": run.loss().detach()}
    run.backward(lambda loss: loss)
    named = model.named_parameters()
    return found | {GRADIENT + name: p.grad for name, p in named if p.grad is not None}


def as_doubles(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values, tensors of floating point in float64."""
    return tuple(
        each.double() if isinstance(each, Tensor) and each.is_floating_point() else each
        for each in values
    )


def _refuse(reason: str) -> None:
    raise OffTapeError(reason)
