"""The tape as an engine of the benchmarks: as it is, and compiled."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bptrain.errors import UsageError
from bptrain.ops.kernels import use_kernels
from bptrain.tape import record
from bptrain.train.precision import Precision


class OnTape:
    """A recorded step. Raises UsageError where it cannot be recorded, or compiled if it is to be.

    held_bytes  0: it holds no buffers between two steps
    """

    held_bytes = 0
    compiles = False

    def __init__(self, model: nn.Module, loss: nn.Module, precision: Precision) -> None:
        self.step, self.precision = record(model, loss, compiles=self.compiles), precision
        self._batch: tuple[tuple[Any, ...], tuple[Tensor, ...]] | None = None

    def __call__(self, inputs: tuple[Any, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Return the loss."""
        self._batch = inputs, targets
        with self.computing():
            loss = self.step(inputs, *targets)
        if reasons := [*self.step.reasons, *self.step.not_compiled]:
            raise UsageError("the step does not run so", reasons[0])
        return loss

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute within the block as the step does."""
        with self.precision.computing():
            yield

    @property
    def kept_bytes(self) -> int:
        """What the entries keep for the backward pass, inputs included, parameters not."""
        assert self._batch is not None, "a step was taken"
        with self.computing():
            run = self.step.begin(*self._batch, needs_outputs=False)
            run.forward()
            run.loss()
        kept = getattr(run, "saved", None) or getattr(run, "results", ())
        tensors = [each for each in tree_leaves(kept) if isinstance(each, Tensor)]
        own = {p.untyped_storage().data_ptr() for p in self.step.model.parameters()}
        storages = {s.data_ptr(): s.nbytes() for s in map(Tensor.untyped_storage, tensors)}
        return sum(bytes_ for place, bytes_ in storages.items() if place not in own)


class Compiled(OnTape):
    """A recorded step, compiled."""

    compiles = True


class CompiledFormulas(Compiled):
    """The lines of the derivations, compiled, without a library's kernel for an operation."""

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute by the formulas within the block."""
        with super().computing(), use_kernels("formula"):
            yield
