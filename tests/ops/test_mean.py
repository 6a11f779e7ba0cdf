"""What is true of means beyond the table of cases."""

import pytest
import torch

from bptrain.ops import mean


def test_the_gradient_repeats_numbers_and_takes_no_memory_for_them() -> None:
    x = torch.randn(4, 5, requires_grad=True)
    (grad_x,) = torch.autograd.grad(mean(x, 1), x, torch.ones(4))
    assert grad_x.equal(torch.full((4, 5), 0.2))
    assert grad_x.stride() == (1, 0)


@pytest.mark.parametrize("dim", [2, -3, (0, 5)])
def test_an_axis_that_the_input_does_not_have_is_refused(dim: int | tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected -2 to 1 for input of shape \[4, 5\]"):
        mean(torch.zeros(4, 5), dim)


def test_an_axis_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="expected each axis once"):
        mean(torch.zeros(4, 5), (0, -2))
