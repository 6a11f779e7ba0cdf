"""What is measured: a training step, and the ways to compute it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from bptrain.train.precision import Precision

RANDOM = (nn.modules.dropout._DropoutNd,)
WITH_DROPOUT_INSIDE = (nn.RNNBase, nn.MultiheadAttention)


class TrainingStep(Protocol):
    """Runs forward, loss and backward, and adds the gradients to the parameters' `.grad`."""

    def __call__(self, inputs: tuple[Any, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Return the loss."""
        ...


@runtime_checkable
class CountsItsMemory(Protocol):
    """A training step that saves tensors by itself, where autograd's hooks do not see it.

    kept_bytes  what it keeps from the forward pass for the backward pass
    held_bytes  what it holds between two steps, such as buffers that it uses again
    """

    kept_bytes: int
    held_bytes: int


@dataclass(frozen=True)
class Subject:
    """A model of bptrain.nn, its loss and one batch.

    name              in results
    update            model -> a function that changes its weights from `.grad`
    optimizer_states  tensors that the optimizer keeps for each parameter
    """

    name: str
    model: nn.Module
    loss: nn.Module
    inputs: tuple[Any, ...]
    targets: tuple[Tensor, ...]
    precision: Precision
    update: Callable[[nn.Module], Callable[[], object]]
    optimizer_states: int = 0

    @property
    def parameters(self) -> int:
        """Number of weights that are trained."""
        return sum(each.numel() for each in self.model.parameters() if each.requires_grad)

    @property
    def is_random(self) -> bool:
        """Whether the model draws random numbers in a step."""
        return any(_probability(each) > 0 for each in self.model.modules())

    def without_dropout(self) -> "Subject":
        """Return the same with every dropout probability 0, on a copy of the model."""
        model = copy.deepcopy(self.model)
        for module in model.modules():
            if isinstance(module, RANDOM):
                module.p = 0.0
            elif isinstance(module, WITH_DROPOUT_INSIDE):
                module.dropout = 0.0
        return replace(self, model=model)

    def in_float64(self) -> "Subject":
        """Return the same in float64, on a copy of the model and the loss."""
        return replace(
            self,
            model=copy.deepcopy(self.model).double(),
            loss=copy.deepcopy(self.loss).double(),
            inputs=tuple(map(_double, self.inputs)),
            targets=tuple(map(_double, self.targets)),
            precision=Precision(torch.float32, self.precision.device, self.precision.kernels),
        )


@dataclass(frozen=True)
class Alternative:
    """One way to compute the step, with weights of its own.

    model  whose parameters the step and the update change
    """

    name: str
    is_ours: bool
    model: nn.Module
    loss: nn.Module
    inputs: tuple[Any, ...]
    targets: tuple[Tensor, ...]
    step: TrainingStep
    update: Callable[[], object]

    def clear(self) -> None:
        """Remove the gradients."""
        for parameter in self.model.parameters():
            parameter.grad = None

    def backpropagate(self) -> Tensor:
        """Return the loss, and leave the gradients in the parameters."""
        self.clear()
        return self.step(self.inputs, self.targets)

    def run(self) -> None:
        """Take the whole step: forward, loss, backward, update."""
        self.backpropagate()
        self.update()

    def repeated(self, times: int) -> Callable[[], None]:
        """Return a function that takes several steps."""
        return repeated(self.run, times)

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients by the names of their parameters."""
        named = self.model.named_parameters()
        return {name: each.grad for name, each in named if each.grad is not None}


def repeated(work: Callable[[], object], times: int) -> Callable[[], None]:
    """Return a function that does the work several times."""

    def run() -> None:
        for _ in range(times):
            work()

    return run


def _probability(module: nn.Module) -> float:
    if not module.training:
        return 0.0
    if isinstance(module, RANDOM):
        return module.p
    return float(module.dropout) if isinstance(module, WITH_DROPOUT_INSIDE) else 0.0


def _double(value: Any) -> Any:
    is_number = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if is_number else value


def to_memory_format(value: Any, form: torch.memory_format) -> Any:
    """Return a tensor of four axes in this memory format, and anything else as it is."""
    is_image = isinstance(value, Tensor) and value.dim() == 4
    return value.contiguous(memory_format=form) if is_image else value
