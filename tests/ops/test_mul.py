"""What is true of products beyond the table of cases."""

import pytest
import torch

from bptrain.ops import mul
from bptrain.ops.mul import Needs, forward


def test_only_what_a_gradient_reads_is_saved() -> None:
    x, z = torch.randn(4, 5), torch.randn(5)
    _, saved = forward(x, z, Needs(x=True, z=False))
    assert saved.x is None
    assert saved.z is z
    _, saved = forward(x, z, Needs(x=False, z=True))
    assert saved.x is x
    assert saved.z is None


def test_a_mask_of_bools_has_no_gradient() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    mul(x, torch.tensor([True, False, True])).sum().backward()
    assert x.grad.equal(torch.tensor([[1.0, 0, 1]] * 2))


def test_each_gradient_has_the_dtype_of_its_tensor() -> None:
    x = torch.randn(2, 3, dtype=torch.bfloat16, requires_grad=True)
    z = torch.randn(3, requires_grad=True)
    y = mul(x, z)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert (x.grad.dtype, z.grad.dtype) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("shape", [(2, 3), (4,), (1, 2, 2)])
def test_shapes_that_do_not_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input has shape \[4, 5\] and other"):
        mul(torch.zeros(4, 5), torch.zeros(shape))
