"""An engine whose steps are watched when somebody wants to: on the tape, or by autograd with hooks.

Both tell a `LayerWatch` the same: on the tape by its observer, which sees every value and
gradient; under autograd by hooks on modules and tensors, which are there for that step alone. The
numbers that a step computes do not depend on whether it is watched.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from bptrain.monitor.layer_hooks import LayerHooks
from bptrain.monitor.layer_watch import LayerWatch
from bptrain.ops.bptt import bptt_function
from bptrain.tape import Engine, Run, Step
from bptrain.tape.calls import Call, Entry, Gradients, Values, filled
from bptrain.tape.run import AutogradRun, Completed, Linear


class WatchedEngine:
    """Runs the steps of an engine, and tells a watch of the next ones when it is asked to."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.model: nn.Module = engine.model
        self.loss_function: Callable[..., Tensor] = engine.loss_function
        self._watch: LayerWatch | None = None
        self._batches = 0

    def watch_next(self, batches: int, watch: LayerWatch | None = None) -> LayerWatch:
        """Return a watch that will be told of the next batches, so many of them."""
        self._watch, self._batches = watch or LayerWatch(self.model), batches
        return self._watch

    def begin(self, inputs: tuple[Any, ...], targets: tuple[Any, ...]) -> Run:
        """Return the step on a batch, before its forward pass."""
        watch = self._watch if self._batches else None
        if watch is None:
            return self.engine.begin(inputs, targets)
        self._batches -= 1
        watch.begin_batch()
        if watch.samples is not None:
            watch.samples.samples = len(inputs[0])
        if isinstance(self.engine, Step):
            run = self.engine.begin(inputs, targets, observer=OfTape(watch), apart=True)
        else:
            run = self.engine.begin(inputs, targets)
        return HookedRun(run, watch) if isinstance(run, AutogradRun) else run


class OfTape:
    """Tells a watch what the tape shows."""

    def __init__(self, watch: LayerWatch) -> None:
        self.watch = watch
        self._scans: dict[int, str] = {}  # by the number of their first output
        self._inputs: dict[int, list[Any]] = {}  # of operations with weights, likewise
        self._is_backward = False  # a checkpointed segment is run again, and seen already

    def after_forward(self, entry: Entry, values: Values, saved: Any) -> None:
        """Tell of the layers' outputs."""
        if self._is_backward:
            return
        for layer, number in entry.returned_by:
            self.watch.activation(layer, values[number])
        if is_scan(entry):
            self._scans[first_output(entry)] = self.watch.scan(entry.layer)
        if self.watch.samples is not None and isinstance(entry, Call):
            inputs = [filled(each, values) for each in entry.arguments]
            if any(isinstance(each, nn.Parameter) for each in inputs):
                self._inputs[first_output(entry)] = inputs

    def before_backward(self, entry: Entry, upstream: Sequence[Tensor | None], saved: Any) -> None:
        """Tell of the gradients by the layers' outputs."""
        self._is_backward = True
        for layer, number in entry.returned_by:
            gradient = upstream[entry.outputs.index(number)]
            if gradient is not None:
                self.watch.gradient(layer, gradient)
        if not isinstance(entry, Call):
            return
        inputs = self._inputs.pop(first_output(entry), [])
        if is_scan(entry) and saved is not None and any(each is not None for each in upstream):
            self.watch.scanned(self._scans[first_output(entry)], upstream, saved, inputs)
        elif self.watch.samples is not None:
            self.watch.samples.see(entry.operation, entry.passes, inputs, upstream[0])

    def after_backward(self, entry: Entry, gradients: Gradients) -> None:
        """There is nothing more to tell."""


def is_scan(entry: Entry) -> bool:
    """Return whether an entry is a recurrent layer's pass over time."""
    return isinstance(entry, Call) and entry.operation is bptt_function


def first_output(entry: Entry) -> int:
    """Return the number of an entry's first output."""
    number = entry.outputs[0]
    assert number is not None, "the first output of an operation is computed"
    return number


class HookedRun:
    """A step by autograd that tells a watch of its layers."""

    def __init__(self, run: AutogradRun, watch: LayerWatch) -> None:
        self.run, self.hooks = run, LayerHooks(run.model, watch)

    def forward(self) -> Any:
        """Return the model's outputs."""
        with self.hooks.listening():
            return self.run.forward()

    def loss(self) -> Tensor:
        """Return the loss of the outputs."""
        return self.run.loss()

    def backward(self, minimized: Linear, completed: Completed | None = None) -> None:
        """Let autograd run the backward passes, then remove the hooks."""
        try:
            self.run.backward(minimized, completed)
        finally:
            self.hooks.remove()
