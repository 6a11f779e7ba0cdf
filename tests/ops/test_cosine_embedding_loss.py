"""What is true of the cosine embedding loss beyond the table of cases."""

import pytest
import torch

from bptrain.ops import cosine_embedding_loss


def test_a_vector_is_turned_and_never_stretched() -> None:
    a, b = torch.randn(2, 6, 4, dtype=torch.float64)
    a.requires_grad_()
    cosine_embedding_loss(a, b, torch.ones(6)).backward()
    torch.testing.assert_close((a.grad * a).sum(1), torch.zeros(6).double(), atol=1e-12, rtol=0)


def test_lengths_beyond_float16_do_not_overflow() -> None:
    a = torch.full((1, 4), 3e4, dtype=torch.float16, requires_grad=True)
    loss = cosine_embedding_loss(a, a.detach(), torch.ones(1))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-3)
    assert a.grad.isfinite().all()


@pytest.mark.parametrize(
    ("vectors", "target"), [((2, 3), ()), ((3,), (3,)), ((2, 3, 4), (2, 3)), ((), ())], ids=str
)
def test_other_shapes_are_refused(vectors: tuple[int, ...], target: tuple[int, ...]) -> None:
    x = torch.rand(vectors)
    with pytest.raises(ValueError, match=r"expected \[N, D\] and \[N\]"):
        cosine_embedding_loss(x, x, torch.ones(target))


def test_labels_with_a_gradient_are_refused() -> None:
    x = torch.rand(2, 3)
    with pytest.raises(ValueError, match="target requires a gradient"):
        cosine_embedding_loss(x, x, torch.ones(2, requires_grad=True))
