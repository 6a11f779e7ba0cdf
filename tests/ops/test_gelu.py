"""What is true of GELU beyond the table of cases."""

import pytest
import torch

from bptrain.ops import gelu


def test_it_turns_around_so_that_its_output_does_not_tell_its_slope() -> None:
    x = torch.tensor([-0.7518 - 1e-3, -0.7518 + 1e-3], requires_grad=True)
    gelu(x).sum().backward()
    left, right = x.grad.tolist()
    assert left < 0 < right


def test_its_tanh_formula_is_near() -> None:
    x = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    apart = (gelu(x) - gelu(x, approximate="tanh")).abs().max()
    assert 4e-4 < apart < 5e-4


def test_a_formula_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="approximate is 'sigmoid', expected 'none' or 'tanh'"):
        gelu(torch.ones(2), approximate="sigmoid")  # type: ignore[arg-type]
