"""Find where the first number of a training step that is not finite came from.

The step is run again on the tape, each operation by itself, and every value and gradient is looked
at. From the loss, or from the gradient of a weight, the numbers that are not finite are followed
back to the first operation that was given none, or to the batch or the weights if they hold one. A
model that cannot be recorded is run by autograd, with hooks: they know layers, not operations.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bptrain.monitor.finding import Finding, Seen
from bptrain.monitor.layer_trace import LayerTrace
from bptrain.monitor.ranges import Range
from bptrain.monitor.step_part import Part, Source
from bptrain.monitor.step_trace import StepTrace
from bptrain.tape import OffTapeError, observed_run
from bptrain.tape.recording import names_of
from bptrain.tape.state import public

Computing = Callable[[], AbstractContextManager[object]]


def first_non_finite(
    model: nn.Module,
    loss: Callable[..., Tensor],
    parts: Sequence[Part],
    computing: Computing = nullcontext,
) -> Finding | None:
    """Return where the first number came from; None if loss and gradients are finite.

    parts      the batches of the step, in order
    computing  what the forward pass and the loss run under, such as autocast

    The step leaves behind what a training step does, but for the gradients in `.grad`.
    """
    for number, part in enumerate(parts):
        sources = sources_of(names_of(model, loss), part)
        with gradients_kept(model):
            try:
                found = _on_tape(model, loss, part, sources, computing)
            except OffTapeError:
                found = _by_autograd(model, loss, part, sources, computing)
            found = found or overflowing_norm(model)
        if found is not None:
            return replace(found, part=number)
    return None


def _on_tape(
    model: nn.Module,
    loss: Callable[..., Tensor],
    part: Part,
    sources: dict[int, Source],
    computing: Computing,
) -> Finding | None:
    trace = StepTrace()
    with computing():
        run = observed_run(model, loss, part.inputs, part.targets, trace)
        trace.begin(run.values, sources)
        run.forward()
        run.loss()
    if part.minimized is None:
        return None
    run.backward(part.minimized)
    return trace.cause(run.program.loss, [number for number, _ in run.program.parameters])


def _by_autograd(
    model: nn.Module,
    loss: Callable[..., Tensor],
    part: Part,
    sources: dict[int, Source],
    computing: Computing,
) -> Finding | None:
    trace = LayerTrace(sources)
    with trace.listening(names_of(model, loss)), computing():
        value = loss(model(*part.inputs), *part.targets)
    if part.minimized is None:
        return None
    part.minimized(value).backward()
    return trace.cause(value)


def overflowing_norm(model: nn.Module) -> Finding | None:
    """Return the first finite gradient whose norm is infinite in float32, if there is one."""
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        norm = parameter.grad.norm(dtype=torch.float32)
        if not norm.isfinite() and parameter.grad.isfinite().all():
            gradient = Seen(f"the gradient by {name}", Range.of(parameter.grad))
            of_it = Seen(f"the norm of {gradient.name}", Range.of(norm))
            return Finding("backward", "norm", name.rpartition(".")[0], of_it, (gradient,))
    return None


def sources_of(names: dict[nn.Module, str], part: Part) -> dict[int, Source]:
    """Return what a step is given, by the `id` of each tensor.

    names  of the modules
    """
    found: dict[int, Source] = {}
    for module, name in names.items():
        held = {**dict(module.named_parameters(recurse=False)), **public(module)}
        held |= dict(module.named_buffers(recurse=False))
        for own, value in held.items():
            for tensor in tree_leaves(value):
                found.setdefault(id(tensor), Source(f"{name}.{own}".lstrip("."), "state"))
    for kind, arguments in (("input", part.inputs), ("target", part.targets)):
        tensors = [each for each in arguments if isinstance(each, Tensor)]
        for number, tensor in enumerate(tensors):
            place = f" {number}" if len(tensors) > 1 else ""
            found[id(tensor)] = Source(f"the batch's {kind}{place}", "batch")
    return found


@contextmanager
def gradients_kept(model: nn.Module) -> Iterator[None]:
    """Clear the gradients for the block, and restore them."""
    before = {parameter: parameter.grad for parameter in model.parameters()}
    for parameter in before:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in before.items():
            parameter.grad = gradient
