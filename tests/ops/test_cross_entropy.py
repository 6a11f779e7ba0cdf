"""What is true of cross-entropy beyond the referees' table."""

import pytest
import torch

from bptrain.ops import cross_entropy


def test_without_options_the_gradient_is_p_minus_one_hot() -> None:
    x = torch.randn(1, 5, dtype=torch.float64, requires_grad=True)
    cross_entropy(x, torch.tensor([2])).backward()
    p = x.detach().exp() / x.detach().exp().sum()
    p[0, 2] -= 1
    torch.testing.assert_close(x.grad, p)


def test_a_tiny_loss_is_not_rounded_to_zero() -> None:
    x = torch.tensor([[10.0, 0.0]])
    assert cross_entropy(x, torch.tensor([0])).item() == pytest.approx(4.54e-5, rel=0.005)


def test_logits_far_from_zero_lose_no_digits() -> None:
    near = torch.tensor([[0.0, 0.25, 0.5]], requires_grad=True)
    far = (near.detach() + 8192).requires_grad_()  # exact: quarters fit float32 there
    for x in (near, far):
        cross_entropy(x, torch.tensor([0])).backward()
    torch.testing.assert_close(far.grad, near.grad, rtol=1e-6, atol=0)


def test_neither_p_nor_its_logarithm_is_kept() -> None:
    x = torch.randn(64, 100, requires_grad=True)
    loss = cross_entropy(x, torch.zeros(64, dtype=torch.int64))
    large = [t for t in loss.grad_fn.saved_tensors if t is not None and t.numel() > 64]
    assert [t.data_ptr() for t in large] == [x.data_ptr()]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target": torch.zeros(4)}, "class indices"),
        ({"target": torch.zeros(4, 5, dtype=torch.int64)}, "shape"),
        ({"target": torch.zeros(3, dtype=torch.int64)}, "shape"),
        ({"input": torch.tensor(1.0)}, "shape"),
        ({"reduction": "avg"}, "'avg'"),
        ({"label_smoothing": 1.5}, "1.5"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else value,
)
def test_wrong_arguments_are_refused(wrong: dict[str, object], message: str) -> None:
    right = {"input": torch.randn(4, 5), "target": torch.zeros(4, dtype=torch.int64)}
    with pytest.raises(ValueError, match=message):
        cross_entropy(**right | wrong)
