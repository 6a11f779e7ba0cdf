"""The same network in plain torch.nn: the reference that gradients are compared with."""

import copy
import inspect

import torch
from torch import Tensor

OURS = "bptrain.nn"


class TorchAdd(torch.nn.Module):
    """x + y, differentiated by torch."""

    def forward(self, input: Tensor, other: Tensor) -> Tensor:
        """Return the sum."""
        return input + other


class TorchConcat(torch.nn.Module):
    """torch.cat along `dim`, differentiated by torch."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the tensors concatenated along `dim`."""
        return torch.cat(tensors, self.dim)


WITHOUT_COUNTERPART = {"Add": TorchAdd, "Concat": TorchConcat}  # torch.nn has no such modules


def is_ours(module: torch.nn.Module) -> bool:
    """Return whether a module is a layer of bptrain.nn."""
    return type(module).__module__.startswith(OURS)


def torch_class(kind: type[torch.nn.Module]) -> type[torch.nn.Module]:
    """Return the torch.nn counterpart of a bptrain.nn class, or this file's."""
    name = kind.__name__
    return WITHOUT_COUNTERPART.get(name) or getattr(torch.nn, name)


def to_torch(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy in which each layer of bptrain.nn is torch.nn's, with the same state.

    Modules of other origin stay what they are.
    """
    counterpart = copy.deepcopy(module)
    return _replaced(counterpart)


def _replaced(module: torch.nn.Module) -> torch.nn.Module:
    if is_ours(module):
        return _counterpart(module)
    for name, child in module.named_children():
        setattr(module, name, _replaced(child))
    return module


def _counterpart(module: torch.nn.Module) -> torch.nn.Module:
    kind = torch_class(type(module))
    if isinstance(module, kind):
        module.__class__ = kind  # ours differs from its base in `forward` only
        return module
    names = inspect.signature(type(module).__init__).parameters.keys() - {"self", "args", "kwargs"}
    return kind(**{name: getattr(module, name) for name in names}).train(module.training)
