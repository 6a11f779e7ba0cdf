"""The rows of a whole training step: its gradients on the tape against autograd's engine."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.tape import Autograd, Engine, OffTapeError, Step
from bptrain.verify.comparison import SMALLEST
from bptrain.verify.parity import GRADIENT, parity
from bptrain.verify.report import Row

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
    given = [_double(each) for each in inputs], [_double(each) for each in targets]
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
                        found.append(_gradients(engine, *given))
                except OffTapeError as error:
                    return [], [f"the training step does not run on the tape: {error}"]
            rows += _compared(found[0], found[1], kernels)
    return rows, []


def _compared(ours: dict[str, Tensor], reference: dict[str, Tensor], kernels: Kernels) -> list[Row]:
    largest = max((float(each.abs().max()) for each in reference.values()), default=0.0)
    compared = parity(ours, reference, max(SMALLEST, NOISE * largest))
    return [Row(WHOLE, "", kernels, "autograd's engine", each, SAME) for each in compared]


def _gradients(engine: Engine, inputs: list[Any], targets: list[Any]) -> dict[str, Tensor]:
    run = engine.begin(tuple(inputs), tuple(targets))
    run.forward()
    found = {"loss": run.loss().detach()}
    run.backward(lambda loss: loss)
    named = engine.model.named_parameters()
    return found | {GRADIENT + name: p.grad for name, p in named if p.grad is not None}


def _double(value: Any) -> Any:
    is_float = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if is_float else value


def _refuse(reason: str) -> None:
    raise OffTapeError(reason)
