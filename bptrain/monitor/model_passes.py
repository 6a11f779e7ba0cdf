"""The passes of a model through a training step, seen by two hooks on the model itself.

Of each pass is kept what is needed to repeat it, until the step is over: its arguments, the state
of the random generators, and the gradients by its outputs. A pass without gradients, such as one
of an evaluation, does not count.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves

from bptrain.errors import UsageError
from bptrain.monitor.layer_hooks import LayerHooks
from bptrain.monitor.layer_watch import LayerWatch
from bptrain.monitor.watchable import BEFORE_COMPILE
from bptrain.tape.state import generators

MOST_BYTES = 2**26  # of gradients by outputs that are kept


@dataclass
class Pass:
    """A forward pass, as it began, and the gradients by its outputs [i-th tensor]."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    generators: list[Any]
    autocast: torch.dtype | None
    device_type: str
    gradients: dict[int, Tensor] = field(default_factory=dict)
    is_complete: bool = True  # False: a gradient was too large to be kept

    def computing(self) -> AbstractContextManager[object]:
        """Return what the pass ran under."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device_type, self.autocast)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments."""
        return [*tensors_in((self.arguments, self.keywords))]


class ModelPasses:
    """Keeps the passes of a step, and tells a watch of them when it is asked to."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.device = model, device
        self.of_step: list[Pass] = []
        self._watch: LayerWatch | None = None
        self._layer_hooks: LayerHooks | None = None
        self._running: list[tuple[Pass | None, ExitStack | None]] = []
        self._handles = [
            model.register_forward_pre_hook(self._begin, with_kwargs=True),
            model.register_forward_hook(self._end, always_call=True),
        ]

    def watch_next(self, batches: int, watch: LayerWatch | None = None) -> LayerWatch:
        """Return a watch that will be told of the next step's passes, however many there are."""
        self._watch = watch or LayerWatch(self.model)
        self._layer_hooks = LayerHooks(self.model, self._watch)
        return self._watch

    @property
    def dtypes(self) -> set[torch.dtype]:
        """The dtypes of the layers' outputs, of a step that is watched."""
        return set() if self._watch is None else self._watch.dtypes

    def end_step(self) -> list[Pass]:
        """Return the passes of the step that is over, and remove the hooks on their tensors."""
        ended, self.of_step = self.of_step, []
        if self._layer_hooks is not None:
            self._layer_hooks.remove()
        self._watch = self._layer_hooks = None
        return ended

    def remove(self) -> None:
        """Remove all hooks."""
        self.end_step()
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        is_outermost = not self._running
        self._running.append((None, None))  # what follows may raise: `_end` is called then too
        if torch.compiler.is_compiling():
            raise UsageError("watch: the model was compiled", hint=BEFORE_COMPILE)
        if module is not self.model:
            raise UsageError("watch: torch.nn.DataParallel runs copies of the model")
        if torch.is_grad_enabled() and is_outermost:
            kept = self._kept(args, kwargs)
            self._running[-1] = (kept, None)
            self.of_step.append(kept)
            if self._watch is not None and self._layer_hooks is not None:
                self._watch.begin_batch()
                entered = ExitStack()
                self._running[-1] = (kept, entered)
                entered.enter_context(self._layer_hooks.listening([module]))

    def _kept(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pass:
        kind = self.device.type
        is_autocast = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if is_autocast else None
        return Pass(args, kwargs, generators(), dtype, kind)

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        kept, entered = self._running.pop()
        if entered is not None:
            entered.close()
        if kept is None:
            return
        tensors = [*tensors_in(output)]
        if not tensors and kept in self.of_step:  # it raised an error
            self.of_step.remove(kept)
        for number, each in enumerate(tensors):
            if each.requires_grad:
                each.register_hook(partial(self._keep, kept, number))

    def _keep(self, kept: Pass, number: int, gradient: Tensor) -> None:
        held = sum(g.nbytes for each in self.of_step for g in each.gradients.values())
        if held + gradient.nbytes > MOST_BYTES:
            kept.is_complete = False
        else:
            kept.gradients[number] = gradient.detach()


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested values, also in mappings that torch does not know."""
    if isinstance(values, Tensor):
        yield values
        return
    for each in tree_leaves(values, is_leaf=lambda value: isinstance(value, PackedSequence)):
        if isinstance(each, PackedSequence):
            yield each.data
        elif isinstance(each, Tensor):
            yield each
        elif isinstance(each, Mapping):
            yield from tensors_in(dict(each))


@contextmanager
def replacing_gradients(kept: Pass, tensors: list[Tensor]) -> Iterator[None]:
    """Let the gradient by each output be the kept one, however many outputs depend on it."""
    with ExitStack() as hooks:
        for number, gradient in kept.gradients.items():
            handle = tensors[number].register_hook(lambda _, g=gradient: g)
            hooks.callback(handle.remove)
        yield
