"""What is true of the gated linear unit beyond the table of cases."""

import pytest
import torch

from bptrain.ops import glu


def test_its_input_is_all_it_saves() -> None:
    x = torch.randn(4, 6, requires_grad=True)
    (saved,) = glu(x).grad_fn.saved_tensors
    assert saved.data_ptr() == x.data_ptr()


@pytest.mark.parametrize(("shape", "dim"), [((4, 5), -1), ((3, 4), 0), ((), -1)])
def test_an_odd_axis_is_refused_with_the_shape(shape: tuple[int, ...], dim: int) -> None:
    with pytest.raises(ValueError, match="expected an even size along dim"):
        glu(torch.ones(shape), dim)


@pytest.mark.parametrize("dim", [2, -3])
def test_an_axis_that_input_does_not_have_is_refused(dim: int) -> None:
    with pytest.raises(ValueError, match=rf"dim is {dim}, expected -2 to 1 for input of shape"):
        glu(torch.ones(4, 6), dim)
