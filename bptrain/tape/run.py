"""A step on one batch, whoever runs it; and the one by autograd's engine."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn

from bptrain.tape.batch import Batch

Linear = Callable[[Tensor], Tensor]  # a linear function of the loss
Completed = Callable[[nn.Parameter], None]  # is told of a parameter whose `.grad` is complete


class Run(Protocol):
    """A step on one batch: forward, loss, backward, in this order."""

    def forward(self) -> Any:
        """Return the model's outputs."""
        ...

    def loss(self) -> Tensor:
        """Return the loss of the outputs."""
        ...

    def backward(self, minimized: Linear, completed: Completed | None = None) -> None:
        """Add the gradient of `minimized(loss)` by each parameter to its `.grad`.

        completed  is called once for each parameter that has a gradient, as soon as this pass adds
                   nothing more to it, while gradients of other layers are still to be computed; it
                   may be called for one that gets none
        """
        ...


class Engine(Protocol):
    """What runs the steps of a model and a loss."""

    model: nn.Module
    loss_function: Callable[..., Tensor]

    def begin(self, inputs: tuple[Any, ...], targets: tuple[Any, ...]) -> Run:
        """Return the step on a batch, before its forward pass."""
        ...


class AutogradRun:
    """A step by autograd's engine."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor], batch: Batch) -> None:
        self.model, self.loss_function, self.batch = model, loss, batch

    def forward(self) -> Any:
        """Return the model's outputs."""
        self._outputs = self.model(*self.batch.inputs)
        return self._outputs

    def loss(self) -> Tensor:
        """Return the loss of the outputs."""
        self._loss = self.loss_function(self._outputs, *self.batch.targets)
        return self._loss

    def backward(self, minimized: Linear, completed: Completed | None = None) -> None:
        """Let autograd's engine run the backward passes."""
        with noting_gradients([self.model, self.loss_function], completed):
            # given a gradient, `backward` would import sympy to check its shape: 0.4 s
            minimized(self._loss).backward()


@contextmanager
def noting_gradients(functions: Iterable[Any], completed: Completed | None) -> Iterator[None]:
    """Note each parameter whose gradient autograd completes inside the block; no hook stays."""
    modules = [each for each in functions if isinstance(each, nn.Module) and completed is not None]
    trained = dict.fromkeys(p for m in modules for p in m.parameters() if p.requires_grad)
    hooks = [each.register_post_accumulate_grad_hook(completed) for each in trained]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def gradients_of(
    run: Run, modules: Iterable[nn.Module], minimized: Linear = lambda loss: loss
) -> tuple[Tensor, dict[nn.Parameter, Tensor | None]]:
    """Run a step; return the loss and what it adds to each `.grad`, which it leaves alone."""
    parameters = {p: p.grad for module in modules for p in module.parameters(recurse=False)}
    try:
        for parameter in parameters:
            parameter.grad = None
        run.forward()
        loss = run.loss()
        run.backward(minimized)
        gradients = {parameter: parameter.grad for parameter in parameters}
    finally:
        for parameter, gradient in parameters.items():
            parameter.grad = gradient
    return loss.detach(), gradients


class Autograd:
    """The engine that hands each backward pass to autograd."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor]) -> None:
        self.model, self.loss_function = model, loss

    def begin(self, inputs: tuple[Any, ...], targets: tuple[Any, ...]) -> Run:
        """Return the step on a batch, before its forward pass."""
        return AutogradRun(self.model, self.loss_function, Batch(inputs, targets))
