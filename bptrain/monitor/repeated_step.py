"""Repeat the passes of a step with a look at every layer, to find the first non-finite number.

The loss is the loop's own, so the backward pass begins with the gradients by the model's outputs
that were kept. Weights, running statistics, gradients and random generators are left as they were.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from bptrain.monitor.finding import Finding, Seen, not_finite
from bptrain.monitor.first_non_finite import gradients_kept, overflowing_norm, sources_of
from bptrain.monitor.layer_trace import LayerTrace
from bptrain.monitor.model_passes import Pass, replacing_gradients, tensors_in
from bptrain.monitor.ranges import Range
from bptrain.monitor.step_part import Part
from bptrain.tape.state import restore, set_generators, state_of


def first_in_passes(model: nn.Module, passes: Sequence[Pass], loss: Tensor) -> Finding | None:
    """Return where the first number that is not finite came from; None if it did not come again."""
    found = overflowing_norm(model)
    modules = [*model.modules()]
    before = state_of(modules)
    try:
        with gradients_kept(model), torch.enable_grad():
            return _forward(model, passes, loss) or _backward(model, passes) or found
    finally:
        restore(modules, before)


def _forward(model: nn.Module, passes: Sequence[Pass], loss: Tensor) -> Finding | None:
    for number, each in enumerate(passes):
        trace, _ = _traced(model, each)
        found = trace.forward_cause()
        if found is None and number == len(passes) - 1 and not loss.isfinite():
            found = trace.loss_cause(loss)
        if found is not None:
            return replace(found, part=number)
    return None


def _backward(model: nn.Module, passes: Sequence[Pass]) -> Finding | None:
    for number, each in enumerate(passes):
        found = _given(each)
        if found is None and each.is_complete and each.gradients:
            trace, outputs = _traced(model, each)
            with replacing_gradients(each, outputs):
                roots = [outputs[place] for place in each.gradients]
                torch.autograd.backward(roots, [*each.gradients.values()])
            found = trace.backward_cause()
        if found is not None:
            return replace(found, part=number)
    return None


def _given(each: Pass) -> Finding | None:
    """Return what the loss gave to the backward pass of the model, if that is not finite."""
    name = "the gradient by the model's output"
    seen = [Seen(name, Range.of(gradient)) for gradient in each.gradients.values()]
    bad = not_finite(seen)
    return Finding("backward", "", "", bad[0]) if bad else None


def _traced(model: nn.Module, each: Pass) -> tuple[LayerTrace, list[Tensor]]:
    """Run the forward pass again; return what its layers showed, and its outputs."""
    names = {module: name for name, module in model.named_modules()}
    part = Part((*each.tensors,), (), None)
    trace = LayerTrace(sources_of(names, part))
    set_generators(each.generators)
    with trace.listening(names), each.computing():
        outputs = model(*each.arguments, **each.keywords)
    return trace, [*tensors_in(outputs)]
