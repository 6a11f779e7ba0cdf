"""What is true of the reduction that every loss shares."""

import pytest
import torch

from bptrain.ops.reduction import (
    checked_broadcast,
    checked_constant,
    checked_reduction,
    checked_shapes,
    grad_of_elements,
    reduced,
    widened,
)


def test_the_gradient_of_each_element_is_the_derivative_of_the_whole() -> None:
    losses = torch.rand(6, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(6, dtype=torch.float64)
    for reduction, divisor in (("sum", 6), ("mean", 6), ("mean", weights)):
        loss = reduced(losses, reduction, divisor)
        (theirs,) = torch.autograd.grad(loss, losses, torch.tensor(0.7).double())
        ours = grad_of_elements(torch.tensor(0.7).double(), reduction, divisor)
        torch.testing.assert_close(ours.expand(6), theirs)


def test_a_gradient_too_small_for_float16_is_not_lost() -> None:
    gradient = grad_of_elements(torch.tensor(1.0, dtype=torch.float16), "mean", 10**9)
    assert gradient.item() == pytest.approx(1e-9)


def test_narrow_and_mixed_tensors_meet_in_a_wide_dtype() -> None:
    half, whole = torch.ones(2, dtype=torch.float16), torch.ones(2, dtype=torch.int64)
    assert [each.dtype for each in widened(half, whole)] == [torch.float32] * 2
    assert [each.dtype for each in widened(half, half.double())] == [torch.float64] * 2


def test_wrong_arguments_are_named_in_the_error() -> None:
    with pytest.raises(ValueError, match="'avg', expected 'none', 'mean' or 'sum'"):
        checked_reduction("avg")
    with pytest.raises(ValueError, match="'sum' or 'batchmean'"):
        checked_reduction("avg", "batchmean")
    with pytest.raises(ValueError, match=r"input has shape \[4, 1\], target has shape \[4\]"):
        checked_shapes(input=torch.ones(4, 1), target=torch.ones(4), weight=None)
    with pytest.raises(ValueError, match=r"weight has shape \[3\]"):
        checked_broadcast(torch.ones(4, 5), weight=torch.ones(3))
    with pytest.raises(ValueError, match=r"weight has shape \[2, 5\]"):
        checked_broadcast(torch.ones(5), weight=torch.ones(2, 5))
    with pytest.raises(ValueError, match="target requires a gradient"):
        checked_constant(target=torch.ones(2, requires_grad=True))


def test_a_constant_may_be_anything_while_no_graph_is_made() -> None:
    with torch.no_grad():
        checked_constant(target=torch.ones(2, requires_grad=True))
