"""What has no weight counts 0 and has the gradient 0, whatever its values are: infinite or NaN."""

from collections.abc import Callable
from math import inf, nan

import pytest
import torch
from torch import Tensor

from bptrain import ops
from bptrain.ops.kernels import Kernels, use_kernels

NOT_FINITE = (inf, -inf, nan)
IGNORED = -100
pytestmark = pytest.mark.parametrize("kernels", ["fused", "formula"])
Loss = Callable[..., Tensor]


def gradient(loss: Tensor, x: Tensor) -> Tensor:
    assert loss.isfinite().all()
    return torch.autograd.grad(loss.sum(), x)[0]


def logits_and_classes(value: float) -> tuple[Tensor, Tensor]:
    """Draw four samples of three classes; all logits of the second are `value`."""
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    x[1] = value
    return x, torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (ops.nll_loss, {}),
        (ops.nll_loss, {"weight": torch.tensor([1.0, 0.0, 2.0])}),
        (ops.cross_entropy, {}),
        (ops.cross_entropy, {"weight": torch.tensor([1.0, 0.0, 2.0])}),
        # with smoothing a sample of a class without weight counts, for the other classes
        (ops.cross_entropy, {"label_smoothing": 0.1}),
        (ops.cross_entropy, {"label_smoothing": 1.0}),
    ],
)
def test_a_sample_of_classes_without_weight(
    kernels: Kernels, loss: Loss, options: dict[str, object], value: float, reduction: str
) -> None:
    x, t = logits_and_classes(value)
    if "weight" not in options:
        t[1] = IGNORED
    others = torch.tensor([0, 2, 3])
    options = {"reduction": reduction, **options}
    with use_kernels(kernels):
        grad_x = gradient(loss(x.requires_grad_(), t, **options), x)
        rest = x[others].detach().requires_grad_()
        expected = gradient(loss(rest, t[others], **options), rest)
    assert grad_x[1].eq(0).all()
    torch.testing.assert_close(grad_x[others], expected)


def test_a_class_without_weight_that_is_ruled_out(kernels: Kernels) -> None:
    x, t = logits_and_classes(0.0)
    x[:, 1] = -inf
    t[1] = 2
    weight = torch.tensor([1.0, 0.0, 2.0])
    with use_kernels(kernels):
        options = {"weight": weight, "label_smoothing": 0.1, "reduction": "none"}
        losses = ops.cross_entropy(x.requires_grad_(), t, **options)
        grad_x = gradient(losses, x)
    assert grad_x[:, 1].eq(0).all()
    assert grad_x.isfinite().all()


@pytest.mark.parametrize("is_weighted", [False, True])
def test_a_class_of_probability_0_that_is_ruled_out(kernels: Kernels, is_weighted: bool) -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    t, weight = x.softmax(1), torch.ones(3) if is_weighted else None
    t[:, 1] = 0
    without = x.index_fill(1, torch.tensor(1), -inf)
    with use_kernels(kernels):
        losses = ops.cross_entropy(without.requires_grad_(), t, weight, reduction="none")
        grad_x = gradient(losses, without)
        two = x[:, [0, 2]].requires_grad_()
        rest = ops.cross_entropy(two, t[:, [0, 2]], reduction="none")
        expected = gradient(rest, two)
    torch.testing.assert_close(losses, rest)
    torch.testing.assert_close(grad_x[:, [0, 2]], expected)
    assert grad_x[:, 1].eq(0).all()


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_row_of_probabilities_that_are_0(kernels: Kernels, value: float) -> None:
    x, _ = logits_and_classes(value)
    t = torch.rand(4, 3)
    t[1] = 0
    with use_kernels(kernels):
        grad_x = gradient(ops.cross_entropy(x.requires_grad_(), t), x)
    assert grad_x[1].eq(0).all()
    assert grad_x.isfinite().all()


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(
    "loss",
    [
        ops.mse_loss,
        ops.l1_loss,
        ops.huber_loss,
        ops.binary_cross_entropy,
        ops.binary_cross_entropy_with_logits,
    ],
)
def test_an_element_of_weight_0(kernels: Kernels, loss: Loss, value: float, reduction: str) -> None:
    x = torch.rand(
        5, generator=torch.Generator().manual_seed(7)
    )  # unlike t, whatever was drawn before
    x[2] = value
    t, weight = torch.rand(5).requires_grad_(), torch.tensor([1.0, 2.0, 0.0, 0.5, 1.0])
    with use_kernels(kernels):
        total = loss(x.requires_grad_(), t, reduction=reduction, weight=weight)
        assert total.isfinite().all()
        grads = torch.autograd.grad(total.sum(), (x, t))
    for grad in grads:
        assert grad[2] == 0
        assert grad.isfinite().all()
        assert grad[[0, 1, 3, 4]].ne(0).all()


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_positive_label_of_weight_0(kernels: Kernels, value: float) -> None:
    x = torch.tensor([0.5, value, -1.0])
    t, pos_weight = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([2.0, 0.0, 0.0])
    with use_kernels(kernels):
        loss = ops.binary_cross_entropy_with_logits(x.requires_grad_(), t, pos_weight=pos_weight)
        grad_x = gradient(loss, x)
    assert grad_x[1] == 0
    assert grad_x.isfinite().all()
    assert grad_x[[0, 2]].ne(0).all()


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "batchmean"])
def test_a_target_of_probability_0_in_kl_div(
    kernels: Kernels, value: float, log_target: bool, reduction: str
) -> None:
    x = torch.tensor([[-1.0, value], [-0.5, -2.0]])
    t = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    t = t.log() if log_target else t
    with use_kernels(kernels):
        loss = ops.kl_div(x.requires_grad_(), t, reduction, log_target)
        grad_x = gradient(loss, x)
        if reduction == "none":
            assert loss[0, 1] == 0
        if log_target:
            t.requires_grad_()
            grad_t = gradient(ops.kl_div(x.detach(), t, reduction, log_target), t)
            assert grad_t[0, 1] == 0
            assert grad_t.isfinite().all()
    assert grad_x[0, 1] == 0
    assert grad_x.isfinite().all()
