"""Forward gradient: the slope of the loss along a random direction, times that direction.

Shapes     w, v: all P weights as one vector; v is drawn anew for each batch   L a number
Forward    the step's own lines, on dual numbers w + e v with e^2 = 0: each value carries its
           derivative along v, L + e s (forward mode)
Rule       s = dL/dw . v    the slope along v, which the forward pass has found; nothing is saved,
                            and nothing runs backward
           w' = s v         in place of dL/dw, v ~ N(0, I)
Why it learns
           E[w'] = E[v v^T] dL/dw = dL/dw: an estimate without bias. Its variance grows with P: to
           the gradient it makes an angle whose cosine is about 1 / sqrt(P)
Cost       the tangents cost about one to two forward passes; memory of no backward pass
Source     Baydin, Pearlmutter, Syme, Wood and Torr 2022, "Gradients without backpropagation",
           definition 1 and theorem 1. The tangents are torch's own (torch.autograd.forward_ad) of
           the lines of each operation's forward pass: bptrain derives no forward mode by hand. A
           kernel for which torch has none is refused, and the first slope is compared with the
           gradient's, because torch loses tangents in some lines that write in place
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from math import isfinite, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._pytree import tree_map_only

from bptrain.tape.calls import Call
from bptrain.tape.learning_rules.weights import Changed
from bptrain.tape.program import Program, Run, accumulate
from bptrain.tape.recorder import OffTapeError
from bptrain.tape.run import Completed, Linear

# How far the slope may be from the gradient's, as a share of |dL/dw|, by the narrowest dtype.
# cuDNN rounds float32 convolutions to TF32's 11 bits.
SAME = {torch.float64: 1e-7, torch.float32: 1e-2, torch.bfloat16: 0.2, torch.float16: 0.1}


class ForwardRun(Run):
    """One run of a program on dual numbers, along a random direction."""

    def __init__(self, program: Program, values: list[Any]) -> None:
        super().__init__(program, values)
        self.directions = [torch.randn_like(parameter) for _, parameter in program.parameters]

    def forward(self) -> Any:
        """Run the model and the loss; return the model's outputs."""
        moved = zip(self.program.parameters, self.directions, strict=True)
        try:
            with forward_ad.dual_level():
                for (number, parameter), v in moved:
                    self.values[number] = forward_ad.make_dual(parameter.detach(), v)
                outputs = super().forward()
                self.value, slope = forward_ad.unpack_dual(super().loss())
                self.slope = torch.zeros_like(self.value) if slope is None else slope
                return tree_map_only(Tensor, lambda y: forward_ad.unpack_dual(y).primal, outputs)
        except NotImplementedError as error:  # its text begins "Trying to use forward AD with X"
            line = str(error).partition("forward AD with ")[2].partition(" ")[0]
            raise OffTapeError(
                f"torch has no forward mode of {line or 'one of its lines'}: try kernels=formula"
            ) from error

    def loss(self) -> Tensor:
        """Return the loss of the outputs."""
        loss: Tensor = self.value
        return loss

    def backward(self, minimized: Linear, completed: Completed | None = None) -> None:
        """Add s v to each parameter's `.grad`; s is the slope of `minimized(loss)`."""
        slope = minimized(self.slope)  # a linear function's slope is its value at the slope
        for (_, parameter), v in zip(self.program.parameters, self.directions, strict=True):
            accumulate(parameter, v * slope, set())
            if completed is not None:
                completed(parameter)


class ForwardProgram(Program):
    """A program whose runs are on dual numbers."""

    def run(self, tensors: Sequence[Tensor]) -> ForwardRun:
        """Return a run on the tensors of a batch, before its forward pass."""
        return ForwardRun(self, super().run(tensors).values)


class ForwardGradient:
    """The rule."""

    name = "forward_gradient"

    def __init__(self) -> None:
        with warnings.catch_warnings(), forward_ad.dual_level():
            # the first dual number imports what torch needs for it, and torch warns of its own code
            warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
            forward_ad.make_dual(torch.zeros(1), torch.zeros(1))

    def changed(self, program: Program) -> Changed:
        """Return the program whose runs are on dual numbers, and whose calls keep nothing."""
        entries = [
            replace(each, needed=(False,) * len(each.needed)) if isinstance(each, Call) else each
            for each in program.entries
        ]
        given = {each.name: getattr(program, each.name) for each in fields(program) if each.init}
        return Changed(ForwardProgram(**(given | {"entries": entries})), {})


def refuse_wrong_slope(run: ForwardRun, gradients: Mapping[nn.Parameter, Tensor | None]) -> None:
    """Raise OffTapeError unless the slope that a run's forward pass found is the gradient's.

    gradients  by each parameter, of the same batch and random numbers

    Numbers that are not finite are not compared: training says what becomes of them.
    """
    slope, square = 0.0, 0.0
    for (_, parameter), v in zip(run.program.parameters, run.directions, strict=True):
        gradient = gradients[parameter]
        if gradient is not None:
            slope += float((gradient.double() * v.double()).sum())
            square += float(gradient.double().square().sum())
    dtypes = {like.dtype for entry in run.program.entries for like in entry.likes if like}
    tolerance = max(SAME.get(dtype, 0.0) for dtype in dtypes)
    found = float(run.slope)
    if isfinite(found) and isfinite(square) and abs(found - slope) > tolerance * sqrt(square):
        raise OffTapeError(
            f"the slope along a random direction is {found:.6g} in forward mode and "
            f"{slope:.6g} by the gradient: torch loses derivatives in one of its lines"
        )
