"""The oracles can fail: a planted error is found, and named."""

import pytest
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bptrain.verify.comparison import compare
from bptrain.verify.finite_differences import (
    TOLERANCE,
    Sampling,
    differences,
    gradcheck,
    numeric_gradient,
)


class Wrong(torch.autograd.Function):
    """y = a b^2 whose b' lacks its factor 2."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a * b * b

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return grad * b * b, grad * a * b


def test_a_missing_factor_is_found_in_its_tensor_and_no_other() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(3, 2, generator=generator, dtype=torch.float64) for name in ("a", "b")
    }
    a, b = gradcheck(lambda t: {"y": Wrong.apply(t["a"], t["b"])}, tensors, ["a", "b"], seed=0)
    assert a.relative_error < TOLERANCE
    assert b.relative_error == pytest.approx(0.5, abs=1e-6)
    assert b.tensor == "b"
    assert b.reference == pytest.approx(2 * b.ours)


class WrongInOne(torch.autograd.Function):
    """y = x^2 whose gradient is off by a thousandth of the largest in one element."""

    @staticmethod
    def forward(ctx, x: Tensor, element: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.element = element
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        grad_x = 2 * grad * x
        grad_x.view(-1)[ctx.element] += 1e-3 * grad_x.abs().max()
        return grad_x, None


@pytest.mark.parametrize("element", range(24))
def test_an_error_in_any_element_shows_along_one_direction(element: int) -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (found,) = differences(
        lambda t: {"y": WrongInOne.apply(t["x"], element)}, {"x": x}, ["x"], 1, Sampling(1, 1)
    )
    assert found.is_wrong


def test_finite_differences_know_a_polynomial() -> None:
    x = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    before = x.clone()
    found, kinks = numeric_gradient(lambda: (x**3).sum(), x, ours=torch.zeros(3).double())
    torch.testing.assert_close(found, 3 * x**2, rtol=1e-8, atol=0)
    assert kinks == 0
    assert x.equal(before)


def test_compare_names_the_worst_element() -> None:
    reference = torch.zeros(2, 3)
    reference[0, 0] = 10
    ours = reference.clone()
    ours[1, 2] = 1
    found = compare("x", ours, reference)
    assert (found.index, found.ours, found.reference) == ((1, 2), 1, 0)
    assert found.relative_error == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("ours", "reference", "error"),
    [
        ([torch.nan], [torch.nan], 0),
        ([torch.inf], [torch.inf], 0),
        ([torch.nan], [1.0], torch.inf),
        ([1.0], [torch.nan], torch.inf),
        ([torch.inf], [-torch.inf], torch.inf),
        ([1.0, 0.0], [torch.inf, 0.0], torch.inf),
    ],
)
def test_compare_treats_what_is_not_finite(
    ours: list[float], reference: list[float], error: float
) -> None:
    assert compare("x", torch.tensor(ours), torch.tensor(reference)).relative_error == error


def test_compare_refuses_different_shapes() -> None:
    with pytest.raises(ValueError, match="shape"):
        compare("x", torch.zeros(2), torch.zeros(1, 2))


def test_a_kink_that_is_near_falls_out_of_a_smaller_step() -> None:
    x = torch.tensor([1e-6], dtype=torch.float64)  # within the first step of 6e-6
    found, kinks = numeric_gradient(lambda: x.relu().sum(), x, ours=torch.ones(1).double())
    assert (found.item(), kinks) == (pytest.approx(1), 0)


@pytest.mark.parametrize(("ours", "kinks"), [(0.0, 1), (0.4, 1), (1.0, 1), (1.5, 0), (-0.5, 0)])
def test_at_a_kink_any_slope_between_its_sides_is_right(ours: float, kinks: int) -> None:
    x = torch.zeros(1, dtype=torch.float64)
    _, found = numeric_gradient(lambda: x.relu().sum(), x, ours=torch.full((1,), ours).double())
    assert found == kinks
