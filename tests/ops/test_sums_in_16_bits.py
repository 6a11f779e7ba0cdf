"""Sums of many 16-bit terms, held in float32: every operation against itself in float64."""

import pytest
import torch
from many_rows import CASES, WITHOUT_LONG_SUMS
from torch import Tensor

from bptrain import ops
from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.verify.named_tensors import Tensors

TOLERANCE = 8  # roundings of the largest element; a sum held in 16 bits was off by 9 to 255


def outcomes(name: str, tensors: Tensors, kernels: Kernels) -> Tensors:
    """Return the output and the gradients, of an upstream gradient whose elements are positive."""
    function, _ = CASES[name]
    given = {key: each.clone().requires_grad_() for key, each in tensors.items()}
    with use_kernels(kernels):
        y = function(**given)
    upstream = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) + 0.5
    y.backward(upstream.bfloat16().to(y.dtype))  # the same numbers in every dtype
    return {"output": y.detach(), **{key: grad_of(each) for key, each in given.items()}}


def grad_of(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def test_every_operation_that_sums_is_looked_at() -> None:
    covered = {label.split(":")[0] for label in CASES} | set(WITHOUT_LONG_SUMS)
    assert covered == set(ops.__all__)


@pytest.mark.parametrize(
    ("dtype", "kernels"),
    [(torch.bfloat16, "fused"), (torch.bfloat16, "formula"), (torch.float16, "fused")],
)
@pytest.mark.parametrize("name", CASES)
def test_a_sum_of_many_terms_is_held_in_float32(
    name: str, dtype: torch.dtype, kernels: Kernels
) -> None:
    narrow = {key: each.to(dtype) for key, each in CASES[name][1].items()}
    wide = {key: each.double() for key, each in narrow.items()}
    found, expected = (outcomes(name, each, kernels) for each in (narrow, wide))
    rounding = torch.finfo(dtype).eps / 2
    for key, right in expected.items():
        if "many steps" in name and not key.startswith(("w", "b")):
            continue  # rounded at every step, and no sum over the steps
        error = (found[key].double() - right).abs().max() / right.abs().max()
        assert error <= TOLERANCE * rounding, (key, error / rounding)
