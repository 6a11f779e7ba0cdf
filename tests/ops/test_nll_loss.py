"""What is true of the negative log-likelihood beyond the table of cases."""

import pytest
import torch

from bptrain.ops import cross_entropy, nll_loss


def test_nothing_as_large_as_the_log_probabilities_is_saved() -> None:
    x = torch.randn(64, 100, requires_grad=True)
    saved = nll_loss(x, torch.zeros(64, dtype=torch.int64)).grad_fn.saved_tensors
    assert [each.numel() for each in saved if each is not None] == [64]


def test_after_log_softmax_it_is_the_cross_entropy() -> None:
    x, t = torch.randn(4, 5, 2, 3, dtype=torch.float64), torch.randint(5, (4, 2, 3))
    for reduction in ("none", "mean", "sum"):
        torch.testing.assert_close(
            nll_loss(x.log_softmax(1), t, reduction=reduction),
            cross_entropy(x, t, reduction=reduction),
        )


def test_images_in_channels_last_are_taken() -> None:
    # torch's own backward pass refuses them: "grad_input must be contiguous"
    x = torch.randn(2, 5, 3, 4).to(memory_format=torch.channels_last).requires_grad_()
    t = torch.randint(5, (2, 3, 4))
    nll_loss(x, t).backward()
    torch.testing.assert_close(x.grad.sum(1), torch.full((2, 3, 4), -1 / t.numel()))


def test_a_gradient_in_16_bits_is_made_in_16_bits() -> None:
    x = torch.randn(4, 5, dtype=torch.bfloat16, requires_grad=True)
    nll_loss(x, torch.tensor([0, 1, 2, 3])).backward()
    assert x.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target": torch.zeros(4)}, "class indices"),
        ({"target": torch.zeros(3, dtype=torch.int64)}, "shape"),
        ({"weight": torch.ones(4)}, r"weight has shape \[4\], expected \[5\]"),
        ({"weight": torch.ones(5, requires_grad=True)}, "weight requires a gradient"),
        ({"reduction": "batchmean"}, "'batchmean'"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(wrong: dict[str, object], message: str) -> None:
    right = {"input": torch.randn(4, 5), "target": torch.zeros(4, dtype=torch.int64)}
    with pytest.raises(ValueError, match=message):
        nll_loss(**right | wrong)
