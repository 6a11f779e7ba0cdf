"""Fixed random matrices B, which carry errors back where backpropagation reads the weights."""

from hashlib import sha256
from math import prod, sqrt

import torch
from torch import Tensor

from bptrain.tape.calls import Like


def glorot_std(shape: tuple[int, ...]) -> float:
    """Return the standard deviation sqrt(2 / (fan_in + fan_out)) of a weight [O, I, ...].

    What it carries keeps its size on average of both directions. Source: Glorot and Bengio 2010,
    "Understanding the difficulty of training deep feedforward neural networks", equation 12.
    """
    O, I, *window = shape  # noqa: E741
    return sqrt(2 / ((O + I) * prod(window)))


class Feedback:
    """The matrices of a seed, each a function of the seed, its name and its shape.

    They are in no checkpoint: a resumed run draws the same ones again. They are drawn on the CPU,
    so that they are the same on every device.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.drawn: dict[tuple[str, Like], Tensor] = {}

    def matrix(self, name: str, like: Like) -> Tensor:
        """Return the matrix of a name: normal, with the standard deviation of initial weights."""
        known = self.drawn.get((name, like))
        if known is None:
            number = sha256(f"{self.seed} {name}".encode()).digest()[:8]
            generator = torch.Generator().manual_seed(int.from_bytes(number))
            drawn = torch.randn(like.shape, generator=generator).mul_(glorot_std(like.shape))
            known = self.drawn[name, like] = drawn.to(like.device, like.dtype)
        return known
