"""What each layer of a step by autograd reads and puts out, and the gradients by both.

Layers are looked at in the order in which they ran. What happens between two of them is not seen.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves

from bptrain.monitor.finding import SHOWN_BEFORE, Finding, Seen, not_finite
from bptrain.monitor.ranges import Range
from bptrain.monitor.step_part import Source


@dataclass
class LayerCall:
    """A call of a layer: what it read and put out, and the gradients by its outputs and inputs."""

    name: str
    layer: nn.Module
    read: list[Seen]
    wrote: list[Seen]
    upstream: list[Seen] = field(default_factory=list)
    passed: list[Seen] = field(default_factory=list)

    def gradients(self) -> list[Seen]:
        """Return the gradients that its backward pass computed, of its parameters too."""
        own = self.layer.named_parameters(recurse=False)
        return self.passed + [
            Seen(f"the gradient by {self.name}.{name}", Range.of(parameter.grad))
            for name, parameter in own
            if parameter.grad is not None
        ]


class LayerTrace:
    """The calls of a model's layers, in order.

    sources  what the step is given, by the `id` of each tensor
    """

    def __init__(self, sources: dict[int, Source]) -> None:
        self.sources = sources
        self.places = {each.name: each.place for each in sources.values()}
        self.calls: list[LayerCall] = []

    @contextmanager
    def listening(self, names: dict[nn.Module, str]) -> Iterator[None]:
        """Look inside the block at every call of a layer that has no layers of its own."""
        with ExitStack() as hooks:
            for module, name in names.items():
                if not any(module.children()):
                    handle = module.register_forward_hook(partial(self._called, name))
                    hooks.callback(handle.remove)
            yield

    def _called(self, name: str, layer: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        read, wrote = list(_tensors(arguments)), list(_tensors(output))
        of_input, of_output = f"the input of {name}", f"the output of {name}"
        call = LayerCall(
            name,
            layer,
            [self._seen(each, of_input) for each in chain(read, layer.parameters(recurse=False))],
            [Seen(of_output, Range.of(each)) for each in wrote],
        )
        _note_gradients(wrote, call.upstream, f"the gradient by {of_output}")
        _note_gradients(read, call.passed, f"the gradient by {of_input}")
        self.calls.append(call)

    def _seen(self, tensor: Tensor, otherwise: str) -> Seen:
        source = self.sources.get(id(tensor))
        return Seen(otherwise if source is None else source.name, Range.of(tensor))

    def cause(self, loss: Tensor) -> Finding | None:
        """Return the first layer with a number that is not finite; None if the step has none.

        Call it after the backward pass.
        """
        if not loss.isfinite():
            return self.forward_cause() or self.loss_cause(loss)
        return self.backward_cause()

    def forward_cause(self) -> Finding | None:
        """Return the first layer that read or put out a number that is not finite, or None."""
        for number, call in enumerate(self.calls):
            bad = not_finite(call.read) or not_finite(call.wrote)
            if bad:
                place = self.places.get(bad[0].name, "forward")
                read = [each for each in call.read if each.range.is_finite]
                return Finding(place, "", call.name, bad[0], tuple(read), self._before(number))
        return None

    def loss_cause(self, loss: Tensor) -> Finding:
        """Return that the loss is the first number that is not finite."""
        of_loss = Seen("the loss", Range.of(loss))
        return Finding("forward", "", "", of_loss, (), self._before(len(self.calls)))

    def _before(self, number: int) -> tuple[Seen, ...]:
        """Return what the calls before one put out, the latest first."""
        return _latest([each for done in reversed(self.calls[:number]) for each in done.wrote])

    def backward_cause(self) -> Finding | None:
        """Return the first layer whose gradients hold such a number, or None."""
        if not any(not_finite(call.gradients()) for call in self.calls):
            return None
        before: list[Seen] = []
        for call in reversed(self.calls):
            bad = not_finite(call.upstream) or not_finite(call.gradients())
            if bad:
                break
            before = [*call.gradients(), *before]
        read = [each for each in (*call.upstream, *call.read) if each.range.is_finite]
        return Finding("backward", "", call.name, bad[0], tuple(read), _latest(before))


def _tensors(values: Any) -> Iterator[Tensor]:
    for each in tree_leaves(values, is_leaf=lambda value: isinstance(value, PackedSequence)):
        if isinstance(each, PackedSequence):
            yield each.data
        elif isinstance(each, Tensor):
            yield each


def _note_gradients(tensors: Iterable[Tensor], gradients: list[Seen], name: str) -> None:
    def note(gradient: Tensor) -> None:
        gradients.append(Seen(name, Range.of(gradient)))

    for tensor in tensors:
        if tensor.requires_grad:
            tensor.register_hook(note)


def _latest(before: list[Seen]) -> tuple[Seen, ...]:
    return tuple(before[:SHOWN_BEFORE])
