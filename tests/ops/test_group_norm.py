"""What is true of group normalization beyond the table of cases."""

import pytest
import torch

from bptrain.ops import group_norm


def test_groups_of_one_value_become_zero_with_a_zero_gradient() -> None:
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64)
    y = group_norm(x, 3, bias=bias)
    torch.testing.assert_close(y, bias.expand(2, 3))
    y.backward(torch.randn_like(x))
    torch.testing.assert_close(x.grad, torch.zeros_like(x), atol=1e-12, rtol=0)


def test_wrong_arguments_are_named() -> None:
    x = torch.zeros(2, 4, 3)
    for groups in (3, 0, -1, 8):
        with pytest.raises(ValueError, match=f"num_groups is {groups}, expected a divisor"):
            group_norm(x, groups)
    with pytest.raises(ValueError, match=r"weight has shape \[3\], expected \[4\]"):
        group_norm(x, 2, torch.ones(3))
    with pytest.raises(ValueError, match="more than 1 value in each of the 4 groups"):
        group_norm(torch.zeros(1, 4), 4)
