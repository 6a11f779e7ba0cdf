"""What is true of flattening beyond the table of cases."""

import pytest
import torch

from bptrain.nn import Unflatten
from bptrain.ops import flatten


def test_a_contiguous_input_gives_a_view_that_may_be_changed_in_place() -> None:
    x = torch.zeros(2, 3, 4, requires_grad=True) * 1
    y = flatten(x, 1)
    assert y.data_ptr() == x.data_ptr()
    y.add_(1)
    assert x.sum() == 24


def test_nothing_is_saved_where_a_copy_is_made() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    y = flatten(x.t())
    assert y.grad_fn.name() == "FlattenFunctionBackward"
    assert y.grad_fn.saved_tensors == ()


def test_splitting_an_axis_is_always_a_view() -> None:
    x = torch.randn(6, 2).t()
    assert Unflatten(1, (2, 3))(x).data_ptr() == x.data_ptr()


@pytest.mark.parametrize(("start", "end"), [(2, 1), (0, 3), (-4, -1), (-1, 0)])
def test_axes_that_do_not_fit_are_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match=r"expected two axes .* of shape \[2, 3, 4\]"):
        flatten(torch.zeros(2, 3, 4), start, end)
