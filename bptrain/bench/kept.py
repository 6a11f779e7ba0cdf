"""What each layer keeps for its backward pass, ours beside torch.nn's, at a usual size."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bptrain import nn
from bptrain.models.summary import KeptBytes
from bptrain.models.torch_twin import torch_class

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A layer at a usual size: its class, its options, the inputs of a training step.

    A shape stands for normally distributed numbers, a function makes any other input.
    """

    name: str
    options: dict[str, Any]
    inputs: tuple[Shape | Callable[[], Any], ...]
    wants: bool = True  # whether the inputs want gradients too, as inside a network

    def call(self, kind: type[torch.nn.Module]) -> tuple[torch.nn.Module, list[Any]]:
        """Return a module of `kind` and its inputs, the same for ours and torch's."""
        torch.manual_seed(0)
        module = kind(**self.options)
        made = [torch.randn(each) if isinstance(each, tuple) else each() for each in self.inputs]
        return module, [_wanting(each) if self.wants else each for each in made]

    def kept_bytes(self, kind: type[torch.nn.Module]) -> int:
        """Return the bytes that a forward pass keeps, inputs included, parameters not."""
        module, inputs = self.call(kind)
        with KeptBytes(module) as kept:
            output = module(*inputs)
            counted = kept.take()
        del output
        return counted

    @property
    def ours(self) -> type[torch.nn.Module]:
        """Our class."""
        found: type[torch.nn.Module] = getattr(nn, self.name)
        return found

    @property
    def torchs(self) -> type[torch.nn.Module]:
        """torch.nn's class, or what it has instead."""
        return torch_class(self.ours)

    @property
    def size(self) -> str:
        """The shape of the first input, in words."""
        first = self.inputs[0]
        shape = first if isinstance(first, tuple) else tuple(first().shape)
        return " x ".join(map(str, shape))


@dataclass(frozen=True)
class Kept:
    """A row of the table."""

    layer: Layer
    ours: int = field(default=0)
    torchs: int = field(default=0)


def measure(layers: Iterable[Layer]) -> list[Kept]:
    """Return what each layer keeps."""
    return [
        Kept(layer, layer.kept_bytes(layer.ours), layer.kept_bytes(layer.torchs))
        for layer in layers
    ]


def _wanting(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.requires_grad_()
    return value
