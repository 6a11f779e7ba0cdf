"""What is true of cross-entropy beyond the table of cases."""

import pytest
import torch

from bptrain.ops import cross_entropy
from bptrain.ops.kernels import Kernels, use_kernels


def test_without_options_the_gradient_is_p_minus_one_hot() -> None:
    x = torch.randn(1, 5, dtype=torch.float64, requires_grad=True)
    cross_entropy(x, torch.tensor([2])).backward()
    p = x.detach().exp() / x.detach().exp().sum()
    p[0, 2] -= 1
    torch.testing.assert_close(x.grad, p)


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_a_tiny_loss_is_not_rounded_to_zero(kernels: Kernels) -> None:
    with use_kernels(kernels):
        loss = cross_entropy(torch.tensor([[10.0, 0.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(4.54e-5, rel=0.005)


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_logits_far_from_zero_lose_no_digits(kernels: Kernels) -> None:
    near = torch.tensor([[0.0, 0.25, 0.5]], requires_grad=True)
    far = (near.detach() + 8192).requires_grad_()  # exact: quarters fit float32 there
    for x in (near, far):
        with use_kernels(kernels):
            cross_entropy(x, torch.tensor([0])).backward()
    torch.testing.assert_close(far.grad, near.grad, rtol=1e-6, atol=0)


def test_neither_p_nor_its_logarithm_is_saved() -> None:
    x = torch.randn(64, 100, requires_grad=True)
    loss = cross_entropy(x, torch.zeros(64, dtype=torch.int64))
    large = [t for t in loss.grad_fn.saved_tensors if t is not None and t.numel() > 64]
    assert [t.data_ptr() for t in large] == [x.data_ptr()]


def test_what_is_saved_is_what_the_caller_holds() -> None:
    x, t = torch.randn(4, 5, requires_grad=True), torch.tensor([0, 1, 2, 3])
    saved = [each for each in cross_entropy(x, t).grad_fn.saved_tensors if each is not None]
    assert [each.data_ptr() for each in saved] == [x.data_ptr(), t.data_ptr()]


def test_logits_of_16_bits_are_saved_as_they_came_under_autocast() -> None:
    x = torch.randn(4, 5, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(x, torch.tensor([0, 1, 2, 3]))
    assert loss.grad_fn.saved_tensors[0].data_ptr() == x.data_ptr()
    assert loss.dtype == torch.float32


def test_one_hot_probabilities_are_class_indices() -> None:
    x, t = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 4, 2, 2])
    one_hot = torch.nn.functional.one_hot(t, 5).double()
    for e in (0.0, 0.3):
        torch.testing.assert_close(
            cross_entropy(x, one_hot, label_smoothing=e), cross_entropy(x, t, label_smoothing=e)
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target": torch.zeros(4)}, "class indices"),
        ({"target": torch.zeros(4, 5, dtype=torch.int64)}, "shape"),
        ({"target": torch.zeros(3, dtype=torch.int64)}, "shape"),
        ({"input": torch.tensor(1.0)}, "shape"),
        ({"reduction": "avg"}, "'avg'"),
        ({"label_smoothing": 1.5}, "1.5"),
        ({"weight": torch.ones(4)}, r"weight has shape \[4\], expected \[5\]"),
        ({"weight": torch.ones(5, requires_grad=True)}, "weight requires a gradient"),
        ({"target": torch.rand(4, 5), "ignore_index": 1}, "no index to ignore"),
        ({"target": torch.rand(4, 5), "weight": torch.ones(4)}, "weight has shape"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else value,
)
def test_wrong_arguments_are_refused(wrong: dict[str, object], message: str) -> None:
    right = {"input": torch.randn(4, 5), "target": torch.zeros(4, dtype=torch.int64)}
    with pytest.raises(ValueError, match=message):
        cross_entropy(**right | wrong)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("e", [0.0, 0.2])
@pytest.mark.parametrize("weights", ["none", "all", "one is 0"])
@pytest.mark.parametrize("is_ignored", [False, True])
# few classes take another way through torch's kernel, and so do many logits backward
@pytest.mark.parametrize(("classes", "large"), [(10, 2**16), (20, 2**16), (10, 0)])
def test_the_loss_of_rows_is_that_of_the_formula(
    classes: int,
    large: int,
    is_ignored: bool,
    weights: str,
    e: float,
    reduction: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bptrain.ops.cross_entropy_of_rows.LARGE", large)
    x, t = torch.randn(70, classes, dtype=torch.float64), torch.randint(classes, (70,))
    w = None if weights == "none" else torch.rand(classes, dtype=torch.float64) + 0.5
    if w is not None and weights == "one is 0":
        w[1], x[:, 1] = 0, -torch.inf  # a class that is ruled out
    if is_ignored:
        t[::3], x[3] = -100, torch.nan
    found = []
    for kernels in ("fused", "formula"):
        given = x.clone().requires_grad_()
        with use_kernels(kernels):
            loss = cross_entropy(given, t, w, reduction=reduction, label_smoothing=e)
            (loss * 3).backward()
        found.append((loss.detach(), given.grad))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-14)
    assert found[0][0].isfinite()
