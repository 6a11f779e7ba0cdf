"""What is true of the triplet margin loss beyond the table of cases."""

import pytest
import torch

from bptrain.ops import triplet_margin_loss
from bptrain.ops.kernels import Kernels, use_kernels


def test_moving_all_three_together_changes_nothing() -> None:
    triplet = [torch.randn(5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    triplet_margin_loss(*triplet, margin=5.0, swap=True).backward()
    total = sum(each.grad for each in triplet)
    torch.testing.assert_close(total, torch.zeros(5, 4).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_a_count_of_differing_elements_has_no_slope(kernels: Kernels) -> None:
    a, b, c = torch.randn(3, 5, 4)
    a.requires_grad_()
    with use_kernels(kernels):
        triplet_margin_loss(a, b, c, p=0.0, margin=1.0).backward()
    assert not a.grad.any()


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_a_high_power_does_not_overflow(kernels: Kernels) -> None:
    a = torch.tensor([[30.0, 20.0]], requires_grad=True)
    with use_kernels(kernels):
        triplet_margin_loss(a, torch.zeros(1, 2), torch.zeros(1, 2), p=60.0).backward()
    assert a.grad.isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"negative": torch.zeros(4)}, "negative has shape"),
        ({"margin": 0.0}, "margin is 0"),
        ({"p": -1.0}, "p is -1"),
        ({"reduction": "avg"}, "'avg'"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(wrong: dict[str, object], message: str) -> None:
    right = {"anchor": torch.zeros(2, 4), "positive": torch.zeros(2, 4)}
    right["negative"] = torch.zeros(2, 4)
    with pytest.raises(ValueError, match=message):
        triplet_margin_loss(**right | wrong)


def test_a_scalar_is_no_vector() -> None:
    x = torch.tensor(1.0)
    with pytest.raises(ValueError, match="scalar"):
        triplet_margin_loss(x, x, x)
