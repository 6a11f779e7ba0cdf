"""Rotary position embedding: what a rotation keeps, and what is refused."""

import pytest
import torch
from torch import Tensor

from bptrain.ops import rotary
from bptrain.ops.kernels import use_kernels


def turned(x: Tensor, first: int) -> Tensor:
    """Return x [T, E] turned as the steps from `first` on of a sequence."""
    steps, size = x.shape
    frequencies = 10_000.0 ** -(torch.arange(size // 2, dtype=x.dtype) * 2 / size)
    angles = (first + torch.arange(steps, dtype=x.dtype))[:, None] * frequencies
    return rotary(x, angles.cos(), angles.sin())


def test_products_depend_on_the_distance_of_two_steps_alone() -> None:
    q, k = torch.randn(5, 8, dtype=torch.float64), torch.randn(5, 8, dtype=torch.float64)
    here, there = (turned(q, first) @ turned(k, first).mT for first in (0, 100))
    torch.testing.assert_close(here, there)


def test_vectors_and_their_gradients_keep_their_length() -> None:
    x = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    y = turned(x, 7)
    grad_y = torch.randn_like(y)
    y.backward(grad_y)
    assert x.grad is not None
    torch.testing.assert_close(y.norm(dim=1), x.norm(dim=1))
    torch.testing.assert_close(x.grad.norm(dim=1), grad_y.norm(dim=1))


def test_sixteen_bits_are_turned_in_float32() -> None:
    x = torch.randn(4, 8).bfloat16()
    angles = 1000 * torch.rand(4, 4)
    for kernels in ("fused", "formula"):
        with use_kernels(kernels):
            found = rotary(x, angles.cos(), angles.sin())
        assert found.dtype == torch.bfloat16
        exact = rotary(x.float(), angles.cos(), angles.sin())
        assert found.equal(exact.bfloat16())


@pytest.mark.parametrize(
    ("x", "cos", "message"),
    [
        (torch.randn(3, 5), torch.randn(3, 2), "an even E"),
        (torch.randn(3, 4), torch.randn(2, 2), r"\[3, 4\], \[2, 2\]"),
        (torch.randn(4), torch.randn(2), r"\[\.\.\., T, E\]"),
        (torch.ones(3, 4, dtype=torch.int64), torch.randn(3, 2), "floating point"),
    ],
)
def test_what_it_cannot_turn_is_refused(x: Tensor, cos: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rotary(x, cos, cos)
