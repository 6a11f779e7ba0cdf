"""What is true of the clamps beyond the table of cases."""

import pytest
import torch
from torch import Tensor

from bptrain.ops import hardtanh, relu6

NARROW = [torch.bfloat16, torch.float16]


def saved_by(y: Tensor) -> Tensor:
    (saved,) = y.grad_fn.saved_tensors
    return saved


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *NARROW])
def test_the_output_is_all_they_save_where_the_dtype_holds_the_bounds(dtype: torch.dtype) -> None:
    x = torch.randn(4, 5, dtype=dtype, requires_grad=True)
    for y in (hardtanh(x), relu6(x), hardtanh(x, -16, 0.0625)):
        assert saved_by(y).data_ptr() == y.data_ptr()


def test_float32_rounds_a_bound_alike_both_ways() -> None:
    x = torch.tensor([-5.0, 5.0, 0.1], requires_grad=True)
    y = hardtanh(x, -0.7, 0.7)
    assert saved_by(y).data_ptr() == y.data_ptr()
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 1]


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("bound", [0.7, 17.03, 1000.3])
def test_a_bound_that_is_rounded_lets_no_clamped_element_through(
    dtype: torch.dtype, bound: float
) -> None:
    x = torch.tensor([-2e4, 2e4, 0.1], dtype=dtype, requires_grad=True)
    y = hardtanh(x, -bound, bound)
    assert saved_by(y).data_ptr() == x.data_ptr()
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 1]


@pytest.mark.parametrize("dtype", NARROW)
def test_what_a_dtype_is_said_to_hold_it_holds(dtype: torch.dtype) -> None:
    sixteenths = torch.arange(-256, 257, dtype=torch.float64) / 16
    assert sixteenths.to(dtype).double().equal(sixteenths)


def test_bounds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match=r"min_val is 2 and max_val 1, expected min_val <="):
        hardtanh(torch.ones(2), 2, 1)
