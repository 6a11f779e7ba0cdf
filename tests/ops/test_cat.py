"""What is true of concatenation beyond the table of cases."""

import pytest
import torch

from bptrain.ops import cat
from bptrain.ops.cat import Part, Saved, backward


def test_each_gradient_is_a_view_of_the_upstream_gradient() -> None:
    grad_y = torch.randn(2, 5)
    parts = [Part((2, length), torch.float32) for length in (2, 3)]
    first, second = backward(grad_y, Saved(parts, 1), (True, True))
    assert first.data_ptr() == grad_y.data_ptr()
    assert second.data_ptr() == grad_y[:, 2:].data_ptr()


def test_each_gradient_has_the_dtype_of_its_tensor() -> None:
    x = torch.randn(1, 3, dtype=torch.float16, requires_grad=True)
    z = torch.randn(2, 3, requires_grad=True)
    y = cat([x, z])
    assert y.dtype == torch.float32
    y.sum().backward()
    assert (x.grad.dtype, z.grad.dtype) == (torch.float16, torch.float32)


def test_empty_vectors_alone_give_an_empty_vector() -> None:
    x = torch.zeros(0, requires_grad=True)
    cat([x, x]).sum().backward()
    assert x.grad.shape == (0,)


@pytest.mark.parametrize(
    ("shapes", "dim"),
    [([], 0), ([(2, 3)], 2), ([(2, 3)], -3), ([(2, 3), (3, 3)], 1), ([(2, 3), (2,)], 0), ([()], 0)],
)
def test_tensors_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], dim: int) -> None:
    with pytest.raises(ValueError, match="the shapes"):
        cat([torch.zeros(shape) for shape in shapes], dim)
