"""One forward pass and loss, recorded into a program, and carried out on the way."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from bptrain.tape.attributes import NONE_CHANGES, Attributes, Changing
from bptrain.tape.batch import Batch, is_autocast, tensors_of, unwritten
from bptrain.tape.calls import Value
from bptrain.tape.program import Program, backpropagate
from bptrain.tape.recorder import OffTapeError, Recorder, new_bytes
from bptrain.tape.run import Completed, Linear
from bptrain.tape.state import State, restore, restore_numbers, undone_after_errors


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

    def backward(self, minimized: Linear, completed: Completed | None = None) -> None:
        """Add to the parameters' `.grad`."""
        backpropagate(self.program, self.saved, minimized(torch.ones_like(self.value)), completed)


class Recording(NamedTuple):
    """A program, and the run it was recorded in.

    varies    whether the next batch, even if it looks alike, may need another program
    changing  the attributes that forward passes change, as far as they are known now
    names     of parameters and buffers, by number
    """

    program: Program
    run: RecordedRun
    varies: bool
    changing: Changing
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
    changing: Changing = NONE_CHANGES,
    keeps_saved: bool = True,
) -> Recording:
    """Run and record a forward pass and the loss.

    Raises OffTapeError, or what the model raises; the modules are then as they were.

    changing     the attributes that are known to change
    keeps_saved  whether the run that is recorded can be completed by its backward pass
    """
    recorder = Recorder(is_autocast(batch), names_of(model, loss), keeps_saved)
    owned = (p for m in modules for p in m.parameters(False))
    parameters = {p: recorder.know(p, p.requires_grad) for p in owned}
    own: dict[int, Tensor] = {number: p for p, number in parameters.items()}
    own |= {recorder.know(b): b for m in modules for b in m.buffers(False)}
    attributes = Attributes(recorder, modules)
    new_bytes([*own.values(), *attributes.besides([]).values()], recorder.counted)
    inputs = [recorder.know(each) for each in tensors_of(batch)]
    with undone_after_errors(modules, attributes.before):
        with unwritten(batch), recorder.listening():
            outputs = model(*batch.inputs)
            boundary, computed = len(recorder.entries), len(recorder.likes)
            value = loss(outputs, *batch.targets)
        if not _has_gradient(value, recorder):
            raise OffTapeError("the loss is no number with a gradient by a parameter")
        carried, changing, moves = attributes.after(model, changing, computed)
        varies = recorder.holds_once(inputs) or moves
        of_others = (carried, recorder.packings) if not varies else ([], [])
        fixed = own | attributes.besides(of_others[0])
        if any(number in fixed for number in inputs):
            raise OffTapeError("a module holds a tensor of the batch")
    program = Program(
        recorder.entries,
        boundary,
        inputs,
        fixed | recorder.constants,
        [(number, p) for p, number in parameters.items() if p.requires_grad],
        tree_map_only(Tensor, lambda each: Value(recorder.number_of(each)), outputs),
        recorder.number_of(value),
        len(recorder.likes),
        *of_others,
        frozenset(recorder.shapes_read),
    )
    run = RecordedRun(program, outputs, value, recorder.saved)
    state = attributes.names(program.carried, recorder.layers.names)
    return Recording(program, run, varies, changing, numbers_of(model, loss, recorder) | state)


def _has_gradient(value: Any, recorder: Recorder) -> bool:
    is_number = isinstance(value, Tensor) and not value.dim()
    return is_number and recorder.needed[recorder.number_of(value)]


def rewind(recording: Recording, modules: list[nn.Module], before: State) -> None:
    """Undo what the recorded run changed, so that its program can run in its place.

    Attributes that the program does not assign stay as they are now.
    """
    (restore_numbers if recording.varies else restore)(modules, before)


def numbers_of(model: nn.Module, loss: Callable[..., Tensor], recorder: Recorder) -> dict[int, str]:
    """Return the names of parameters and buffers by number."""
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if isinstance(loss, nn.Module):
        named |= {f"loss.{name}": each for name, each in loss.named_buffers()}
        named |= {f"loss.{name}": each for name, each in loss.named_parameters()}
    return {recorder.number_of(each): name for name, each in named.items()}
