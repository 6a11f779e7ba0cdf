"""The proof on a user's own model: every layer's gradients, then the whole, then its precision.

Each layer is checked alone (`layer_calls.py`), near the inputs that reach it (`points.py`), with
random upstream gradients:

    finite differences   the backward pass against the forward pass: `finite_differences.py`
    torch autograd       against the same layer in torch.nn, every element: `parity.py`
    the second time      against its own answer from the same inputs: `repetition.py`
    float32, ...         the error in the precision of training: `training_precision.py`

Where an operation of the layer has a fused kernel beside its formula, both are checked. What is
wrong at exactly the given inputs alone, where kinks are, is told: `given_values.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.verify.call_rows import ON_PURPOSE, rows_of
from bptrain.verify.finite_differences import Sampling
from bptrain.verify.layer_calls import Calls, Function, LayerCall, layer_calls
from bptrain.verify.report import Report, Row
from bptrain.verify.report_notes import notes_on

Progress = Callable[[str, float], None]
WITH_LAYERS = 0.5  # of the time goes by with the layers, about
UNCHECKED = "the whole model is not checked while a layer is wrong"


def check(
    module: torch.nn.Module | Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    reference: torch.nn.Module | None = None,
    precision: torch.dtype = torch.float32,
    sampling: Sampling | None = None,
    progress: Progress | None = None,
) -> Report:
    """Prove the gradients of a module and of each of its layers, on a copy, in its own mode.

    module     or a function of tensors, such as MyFunction.apply
    inputs     the arguments of a call, one tensor or several
    reference  the same network with torch's own gradients and the same state_dict keys; for
               layers of bptrain.nn it is made here, other layers are checked by finite
               differences alone where it is not given
    precision  torch.float32, or bfloat16 or float16 for training under autocast
    sampling   how many elements of each tensor are moved
    progress   is called with the name of the layer and the fraction of all that is done

    Raises ValueError if the module has no floating-point tensor to differentiate.
    """
    if not isinstance(module, torch.nn.Module):
        module = Function(module)
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    with torch.random.fork_rng():
        calls = layer_calls(module, arguments, reference)
        return _Check(calls, precision, sampling or Sampling(), progress).report()


class _Check:
    """What a check does with the calls of a model."""

    def __init__(
        self, calls: Calls, precision: torch.dtype, sampling: Sampling, progress: Progress | None
    ) -> None:
        self.calls, self.precision, self.sampling = calls, precision, sampling
        self.progress = progress or (lambda _name, _done: None)
        self.done = 0.0
        self.on_purpose: set[str] = set()  # parameters by their names in the whole model

    def report(self) -> Report:
        """Return the rows of every layer, and of the whole if no layer is wrong."""
        whole, layers = self.calls.whole, self.calls.layers
        notes: list[str] = []
        rows: list[Row] = []
        for call in layers:
            rows += self._rows(call, self.sampling, WITH_LAYERS / len(layers))
        if layers and not all(row.is_right for row in rows):
            notes.append(UNCHECKED)
        else:
            few = self.sampling.of_a_whole_model() if layers else self.sampling
            of_whole = self._rows(whole, few, 1 - self.done)
            if layers and not all(row.is_right for row in of_whole):
                of_whole = self._in_a_block(of_whole, notes)
            rows += of_whole
        if not rows:
            raise ValueError("nothing to differentiate: no floating-point input and no parameter")
        return Report(rows, [*notes, *notes_on(rows)])

    def _in_a_block(self, of_whole: list[Row], notes: list[str]) -> list[Row]:
        """Return the rows of the innermost blocks that are wrong, else those of the whole model."""
        rows: list[Row] = []
        for block in self.calls.blocks:
            around = [row.layer for row in rows]
            if any(name.startswith(f"{block.name}.") for name in around):
                continue  # what is wrong is inside a smaller block
            of_block = self._rows(block, self.sampling.of_a_whole_model(), 0.0)
            if not all(row.is_right for row in of_block):
                rows += of_block
                notes.append(f"{block.name} ({block.kind}): {OWN_CODE}")
        if not rows:
            root = self.calls.whole
            notes.append(f"{root.name} ({root.kind}): {OWN_CODE}")
        return rows or of_whole

    def _on_purpose_in(self, call: LayerCall) -> set[str]:
        """Return the parameters of a call whose gradient is not the slope, by its own names."""
        within = "" if call is self.calls.whole else f"{call.name}."
        return {name.removeprefix(within) for name in self.on_purpose if name.startswith(within)}

    def _rows(self, call: LayerCall, sampling: Sampling, share: float) -> list[Row]:
        """Return the rows of a call, which is a share of all that is to be done."""
        self.progress(call.name, self.done)
        rows = rows_of(
            call,
            self.precision,
            sampling,
            lambda part: self.progress(call.name, self.done + part * share),
            self._on_purpose_in(call),
        )
        self.on_purpose |= {f"{call.name}.{row.tensor}" for row in rows if row.note == ON_PURPOSE}
        self.done += share
        return rows


OWN_CODE = "the error is in the code of its own forward, outside of its layers, which are right"
