"""What is true of the log-sigmoid beyond the table of cases."""

import math

import pytest
import torch

from bptrain.ops import logsigmoid
from bptrain.ops.kernels import use_kernels


def test_its_input_is_all_it_saves() -> None:
    x = torch.randn(4, 5, requires_grad=True)
    (saved,) = logsigmoid(x).grad_fn.saved_tensors
    assert saved.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sure_choice_still_has_a_gradient(dtype: torch.dtype) -> None:
    x = torch.tensor([20.0, 40.0, 80.0], dtype=dtype, requires_grad=True)
    logsigmoid(x).sum().backward()
    assert x.grad.tolist() == pytest.approx([math.exp(-each) for each in (20, 40, 80)], rel=1e-5)


@pytest.mark.parametrize("kernels", ["fused", "formula"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_neither_pass_overflows(dtype: torch.dtype, kernels: str) -> None:
    far = torch.finfo(dtype).max
    x = torch.tensor([-far, -50, -39.5, far], dtype=dtype, requires_grad=True)
    with use_kernels(kernels):
        y = logsigmoid(x)
    y.sum().backward()
    assert y.tolist() == [*x.tolist()[:3], 0]
    assert x.grad.tolist() == [1, 1, 1, 0]
