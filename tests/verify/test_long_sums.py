"""`check` in 16 bits looks at sums over thousands of rows."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bptrain import nn
from bptrain.verify import check

DTYPES = [torch.bfloat16, torch.float16]


class AddBias(torch.autograd.Function):
    """x + b, whose b' is a sum held in the dtype `held`, or in that of y'."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, b: Tensor, held: torch.dtype | None) -> Tensor:
        ctx.held = held
        return x + b

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, None]:
        rows = grad_y if ctx.held is None or grad_y.dtype == torch.float64 else grad_y.to(ctx.held)
        total = torch.zeros_like(rows[0])
        for row in rows:
            total += row
        return grad_y, total.to(grad_y.dtype), None


class Bias(torch.nn.Module):
    def __init__(self, held: torch.dtype | None) -> None:
        super().__init__()
        self.bias, self.held = torch.nn.Parameter(torch.randn(3)), held

    def forward(self, input: Tensor) -> Tensor:
        return AddBias.apply(input, self.bias, self.held)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_held_in_16_bits_is_found(dtype: torch.dtype) -> None:
    report = check(Bias(dtype), torch.randn(4, 3), precision=dtype)
    assert [row.tensor for row in report.rows if not row.is_right] == ["bias"]
    assert check(Bias(None), torch.randn(4, 3), precision=dtype).ok


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(6, 3), (8, 6)),
        (nn.Conv2d(2, 3, 3), (2, 2, 8, 8)),
        (nn.BatchNorm1d(6), (8, 6)),  # w' cancels where the upstream gradients are alike
        (nn.LayerNorm(6), (8, 6)),
        (nn.RMSNorm(6), (8, 6)),
        (nn.PReLU(), (8, 6)),
    ],
    ids=str,
)
@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_no_layer_of_ours_is_called_wrong(
    module: torch.nn.Module, shape: tuple[int, ...], dtype: torch.dtype, scale: float
) -> None:
    assert check(module, scale * torch.randn(shape), precision=dtype).ok


def test_indices_are_repeated_too() -> None:
    assert check(nn.Embedding(5, 3), torch.randint(5, (8, 4)), precision=torch.bfloat16).ok
