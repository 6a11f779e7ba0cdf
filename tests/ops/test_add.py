"""What is true of addition beyond the table of cases."""

import pytest
import torch

from bptrain.ops import add
from bptrain.ops.add import Needs, Operand, Saved, backward


def test_without_broadcasting_both_gradients_are_the_upstream_gradient_itself() -> None:
    grad_y = torch.randn(4, 5)
    operand = Operand((4, 5), torch.float32)
    for grad in backward(grad_y, Saved(operand, operand, 1), Needs(True, True)):
        assert grad.data_ptr() == grad_y.data_ptr()


def test_each_gradient_has_the_dtype_of_its_tensor() -> None:
    x = torch.randn(2, 3, dtype=torch.bfloat16, requires_grad=True)
    z = torch.randn(3, requires_grad=True)
    y = add(x, z)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert (x.grad.dtype, z.grad.dtype) == (torch.bfloat16, torch.float32)


def test_a_gradient_is_summed_before_it_is_rounded() -> None:
    z = Operand((1,), torch.bfloat16)
    _, grad_z = backward(torch.ones(1000), Saved(z, z, 1), Needs(True, True))
    assert grad_z.item() == 1000  # adding ones up in bfloat16 would stop at 256


@pytest.mark.parametrize("shape", [(2, 3), (4,), (1, 2, 2)])
def test_shapes_that_do_not_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input has shape \[4, 5\] and other"):
        add(torch.zeros(4, 5), torch.zeros(shape))
