"""A training step of one layer: by torch.nn, by autograd with our layer, and on the tape."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bptrain.bench.engines import ENGINES, TORCH, ByAutograd
from bptrain.bench.saved_bytes import Layer
from bptrain.errors import UsageError
from bptrain.train.precision import Precision

OURS = ("autograd", "tape")


class Fed(nn.Module):
    """A layer with its inputs, which are parameters where they need a gradient.

    The gradient by an input then belongs to the step, as that of a hidden layer does.
    """

    def __init__(self, layer: nn.Module, inputs: list[Any]) -> None:
        super().__init__()
        self.layer = layer
        self.names = [f"input{place}" for place in range(len(inputs))]
        for name, each in zip(self.names, inputs, strict=True):
            if each.requires_grad:
                self.register_parameter(name, nn.Parameter(each.detach()))
            else:
                self.register_buffer(name, each)

    def forward(self) -> Tensor:
        """Return the layer's first output."""
        outputs = self.layer(*[getattr(self, name) for name in self.names])
        first: Tensor = tree_leaves(outputs)[0]
        return first


class WeightedMean(nn.Module):
    """The mean of the outputs times drawn numbers, which are then the upstream gradient."""

    def forward(self, output: Tensor, weights: Tensor) -> Tensor:
        """Return a scalar."""
        return (output * weights).mean()


def layer_steps(layer: Layer) -> tuple[dict[str, Callable[[], object]], str]:
    """Return a step of each alternative by name, and why the tape is left out, or nothing."""
    found = {TORCH: _step(layer, layer.torchs, ByAutograd)}
    why = ""
    for name in OURS:
        try:
            found[name] = _step(layer, layer.ours, ENGINES[name])
        except UsageError as error:
            why = error.why or error.what
    return found, why


def _step(layer: Layer, kind: type[nn.Module], engine: Any) -> Callable[[], object]:
    """Return a step that was taken once. Raises UsageError where it does not run so."""
    fed = Fed(*layer.call(kind))
    weights = torch.randn(fed().shape, generator=torch.Generator().manual_seed(0))
    step = engine(fed, WeightedMean(), Precision(torch.float32, torch.device("cpu")))

    def run() -> None:
        for parameter in fed.parameters():
            parameter.grad = None
        step((), (weights,))

    run()
    return run
