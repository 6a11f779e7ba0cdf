"""One forward pass and loss, recorded into a program, and carried out on the way."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from bptrain.tape.batch import Batch, is_autocast, tensors_of
from bptrain.tape.calls import Value
from bptrain.tape.program import Program, backpropagate
from bptrain.tape.recorder import OffTapeError, Recorder, new_bytes
from bptrain.tape.state import attribute_tensors, changes, state_of


class RecordedRun:
    """The run that was recorded: its forward pass is done."""

    def __init__(self, program: Program, outputs: Any, loss: Tensor, saved: list[Any]) -> None:
        self.program, self.outputs, self.value, self.saved = program, outputs, loss, saved

    def forward(self) -> Any:
        """Return the model's outputs."""
        return self.outputs

    def loss(self) -> Tensor:
        """Return the loss of the outputs."""
        return self.value

    def backward(self, minimized: Callable[[Tensor], Tensor]) -> None:
        """Add to the parameters' `.grad`."""
        backpropagate(self.program, self.saved, minimized(torch.ones_like(self.value)))


class Recording(NamedTuple):
    """A program, and the run it was recorded in.

    varies  whether the next batch, even if it looks alike, may need another program
    names   of parameters and buffers, by number
    """

    program: Program
    run: RecordedRun
    varies: bool
    names: dict[int, str]


def names_of(model: nn.Module, loss: Callable[..., Tensor]) -> dict[nn.Module, str]:
    """Return the name of each module."""
    names = {module: name for name, module in model.named_modules()}
    if isinstance(loss, nn.Module):
        names |= {each: f"loss.{name}".rstrip(".") for name, each in loss.named_modules()}
    return names


def recorded(
    model: nn.Module,
    loss: Callable[..., Tensor],
    batch: Batch,
    modules: list[nn.Module],
    keeps_saved: bool = True,
) -> Recording:
    """Run and record a forward pass and the loss, or raise OffTapeError.

    keeps_saved  whether the run that is recorded can be completed by its backward pass
    """
    under_autocast = is_autocast(batch)
    recorder = Recorder(under_autocast, names_of(model, loss), keeps_saved)
    parameters = {
        p: recorder.know(p, p.requires_grad) for m in modules for p in m.parameters(False)
    }
    fixed: dict[int, Tensor] = {number: p for p, number in parameters.items()}
    fixed |= {recorder.know(b): b for m in modules for b in m.buffers(False)}
    for tensor in attribute_tensors(modules):
        if tensor.requires_grad and not isinstance(tensor, nn.Parameter):
            raise OffTapeError("a module's attribute is a tensor that requires a gradient")
        fixed[recorder.know(tensor)] = tensor
    new_bytes(list(fixed.values()), recorder.counted)
    known = len(recorder.likes)
    inputs = [recorder.know(each) for each in tensors_of(batch)]
    if any(number < known for number in inputs):
        raise OffTapeError("a module holds a tensor of the batch")
    before = state_of(modules)
    with recorder.listening():
        outputs = model(*batch.inputs)
        boundary = len(recorder.entries)
        value = loss(outputs, *batch.targets)
    if (
        not isinstance(value, Tensor)
        or value.dim()
        or not recorder.needed[recorder.number_of(value)]
    ):
        raise OffTapeError("the loss is no number with a gradient by a parameter")
    program = Program(
        recorder.entries,
        boundary,
        inputs,
        fixed | recorder.constants,
        [(number, p) for p, number in parameters.items() if p.requires_grad],
        tree_map_only(Tensor, lambda each: Value(recorder.number_of(each)), outputs),
        recorder.number_of(value),
        len(recorder.likes),
    )
    varies = recorder.reads_numbers or changes(before, state_of(modules))
    run = RecordedRun(program, outputs, value, recorder.saved)
    return Recording(program, run, varies, numbers_of(model, loss, recorder))


def numbers_of(model: nn.Module, loss: Callable[..., Tensor], recorder: Recorder) -> dict[int, str]:
    """Return the names of parameters and buffers by number."""
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if isinstance(loss, nn.Module):
        named |= {f"loss.{name}": each for name, each in loss.named_buffers()}
        named |= {f"loss.{name}": each for name, each in loss.named_parameters()}
    return {recorder.number_of(each): name for name, each in named.items()}
