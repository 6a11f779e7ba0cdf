"""Which tensors are not finite, and which only look so."""

import pytest
import torch

from bptrain.train.finite import not_finite


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_number_that_is_not_finite_is_found_by_name(value: float, dtype: torch.dtype) -> None:
    tensors = {name: torch.ones(3, 40, dtype=dtype) for name in "abcd"}
    tensors["c"][1, 7] = value
    tensors["b"][2, 39] = value
    assert not_finite(tensors) == ["b", "c"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_large_numbers_are_finite_although_their_norm_is_not(dtype: torch.dtype) -> None:
    large = torch.full((100,), torch.finfo(dtype).max, dtype=dtype)
    assert not large.norm().isfinite()
    assert not_finite({"large": large, "small": torch.ones(2, dtype=dtype)}) == []


def test_tensors_of_every_dtype_can_be_checked_together() -> None:
    tensors = {
        "half": torch.ones(3, dtype=torch.float16),
        "count": torch.tensor(3),
        "generator": torch.zeros(9, dtype=torch.uint8),
        "nothing": torch.zeros(0),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "strided": torch.ones(4, 4).t()[::2],
        "step": torch.tensor(torch.nan),
    }
    assert not_finite(tensors) == ["step"]
    assert not_finite({}) == []
