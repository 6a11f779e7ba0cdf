"""Which class of bptrain.nn stands for which of torch.nn: the subclass of the same name.

The two differ in code alone. What a module holds (parameters, buffers, options, hooks) is the same,
so that a module becomes its counterpart when its class is set.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from bptrain.nn.add import Add
from bptrain.nn.attention import DotProductAttention
from bptrain.nn.cat import Concat
from bptrain.nn.mean import Mean
from bptrain.nn.mul import Multiply
from bptrain.nn.rotary import Rotary

OURS = "bptrain.nn."


class TorchAdd(torch.nn.Module):
    """x + y, differentiated by torch."""

    def forward(self, input: Tensor, other: Tensor) -> Tensor:
        """Return the sum."""
        return input + other


class TorchMultiply(torch.nn.Module):
    """x y, differentiated by torch."""

    def forward(self, input: Tensor, other: Tensor) -> Tensor:
        """Return the product."""
        return input * other


class TorchConcat(torch.nn.Module):
    """torch.cat along `dim`, differentiated by torch."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the tensors concatenated along `dim`."""
        return torch.cat(tensors, self.dim)


class TorchMean(torch.nn.Module):
    """The mean over axes, differentiated by torch."""

    def __init__(self, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> None:
        super().__init__()
        self.dim, self.keepdim = dim, keepdim

    def forward(self, input: Tensor) -> Tensor:
        """Return the mean."""
        return torch.mean(input, self.dim, self.keepdim)


class TorchRotary(torch.nn.Module):
    """Pairs (k, k + E/2) turned by angles, differentiated by torch."""

    def forward(self, input: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return input [..., T, E] turned by angles whose cos and sin are [T, E/2]."""
        u, v = input.chunk(2, -1)
        turned = torch.cat([cos * u - sin * v, sin * u + cos * v], -1)
        return turned.to(input.dtype)


class TorchDotProductAttention(torch.nn.Module):
    """torch's scaled_dot_product_attention, differentiated by torch."""

    def __init__(self, is_causal: bool = False) -> None:
        super().__init__()
        self.is_causal = is_causal

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Return the mean of the values that each query sees."""
        return scaled_dot_product_attention(
            query, key, value, mask, is_causal=self.is_causal and mask is None
        )


Kind = type[torch.nn.Module]
WITHOUT_COUNTERPART: dict[Kind, Kind] = {  # of which torch.nn has none
    Add: TorchAdd,
    Concat: TorchConcat,
    DotProductAttention: TorchDotProductAttention,
    Mean: TorchMean,
    Multiply: TorchMultiply,
    Rotary: TorchRotary,
}
OF_TORCH = {torchs: ours for ours, torchs in WITHOUT_COUNTERPART.items()}


def is_ours(module: torch.nn.Module) -> bool:
    """Return whether a module is a layer of bptrain.nn."""
    return is_our_class(type(module))


def is_our_class(kind: type) -> bool:
    """Return whether a class is a layer of bptrain.nn."""
    return kind.__module__.startswith(OURS) and kind not in OF_TORCH


def torch_class(kind: Kind) -> Kind:
    """Return the torch.nn counterpart of a bptrain.nn class, or this file's."""
    found: Kind = WITHOUT_COUNTERPART.get(kind) or getattr(torch.nn, kind.__name__)
    return found


def our_class(kind: Kind) -> Kind | None:
    """Return the bptrain.nn counterpart of a torch.nn class, or None if there is none."""
    subclasses = (each for each in kind.__subclasses__() if each.__name__ == kind.__name__)
    ours = (each for each in subclasses if each.__module__.startswith(OURS))
    return OF_TORCH.get(kind) or next(ours, None)
