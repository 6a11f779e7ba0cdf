"""The fused operations against the operations they replace: the same numbers, and what is saved."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from bptrain import ops
from bptrain.ops.kernels import Kernels, use_kernels

Function = Callable[..., Any]
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def results(function: Function, tensors: list[Tensor]) -> list[Tensor]:
    """Return the output and the gradient by each tensor, for a random upstream gradient."""
    leaves = [each.clone().requires_grad_() for each in tensors]
    output = function(*leaves)
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    return [output.detach(), *torch.autograd.grad(output, leaves, upstream)]


def same(found: list[Tensor], expected: list[Tensor]) -> None:
    """Assert that both are equal in every bit."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def saved_bytes(function: Function, tensors: list[Tensor]) -> int:
    """Return the bytes saved beside the inputs and the output, which others hold."""
    leaves = [each.clone().requires_grad_() for each in tensors]
    saved: list[Tensor] = []

    def kept(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(kept, lambda x: x):
        output = function(*leaves)
    held = {each.untyped_storage().data_ptr() for each in (output, *leaves)}
    others = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in saved}
    return sum(each.nbytes() for place, each in others.items() if place not in held)


@pytest.mark.parametrize("kernels", ["fused", "formula"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 2, "stride": 1, "dilation": 2},
        {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    ],
)
@pytest.mark.parametrize("special", [None, torch.nan, torch.inf, -torch.inf])
def test_relu_and_max_pool_are_those_two(
    special: float | None, window: dict[str, Any], layout: torch.memory_format, kernels: Kernels
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 9, 7, 6).round(decimals=1)  # with ties
    x[1] -= 3  # windows without a positive number
    if special is not None:
        x[0, 0, 3, 3] = special
    x = x.contiguous(memory_format=layout)
    with use_kernels(kernels):
        found = results(lambda x: ops.relu_max_pool2d(x, **window), [x])
        expected = results(lambda x: ops.max_pool2d(ops.relu(x), **window), [x])
    same(found, expected)
    assert found[1].stride() == x.stride()


def test_relu_and_max_pool_save_one_byte_a_winner() -> None:
    x = torch.randn(2, 9, 8, 8)
    assert saved_bytes(lambda x: ops.relu_max_pool2d(x, 2), [x]) == 2 * 9 * 4 * 4
    wide = torch.randn(1, 1, 2, 300)
    assert saved_bytes(lambda x: ops.relu_max_pool2d(x, 2), [wide]) == 150 * 8


@pytest.mark.parametrize("kernels", ["fused", "formula"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_convolution_and_relu_are_those_two(layout: torch.memory_format, kernels: Kernels) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 5).contiguous(memory_format=layout)
    tensors = [x, torch.randn(4, 3, 3, 3), torch.randn(4)]
    with use_kernels(kernels):
        found = results(lambda x, W, b: ops.conv2d_relu(x, W, b, padding=1), tensors)
        expected = results(lambda x, W, b: ops.relu(ops.conv2d(x, W, b, padding=1)), tensors)
    same(found, expected)
    assert saved_bytes(ops.conv2d_relu, tensors) == 0


@pytest.mark.parametrize("kernels", ["fused", "formula"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("has_residual", [True, False])
def test_batch_norm_residual_and_relu_are_those_three(
    has_residual: bool, layout: torch.memory_format, kernels: Kernels
) -> None:
    torch.manual_seed(0)
    x, z = (torch.randn(4, 3, 6, 5).contiguous(memory_format=layout) for _ in range(2))
    tensors = [x, torch.rand(3) + 0.5, torch.randn(3), *([z] if has_residual else [])]

    def parts(running: list[Tensor], x: Tensor, w: Tensor, b: Tensor, *z: Tensor) -> Tensor:
        a = ops.batch_norm(x, running[0], running[1], w, b, training=True)
        return ops.relu(ops.add(a, *z) if z else a)

    ours, theirs = ([torch.zeros(3), torch.ones(3)] for _ in range(2))
    with use_kernels(kernels):
        found = results(
            lambda x, w, b, *z: ops.batch_norm_relu(x, ours[0], ours[1], w, b, *z), tensors
        )
        expected = results(lambda *given: parts(theirs, *given), tensors)
    same([*found, *ours], [*expected, *theirs])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("has_weights", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_chunks_of_samples_give_what_all_at_once_do(
    smoothing: float, has_weights: bool, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("bptrain.ops.linear_cross_entropy")
    monkeypatch.setattr(module, "CHUNK", 7 * 4)  # 4 samples of 7 classes, the last chunk with 2
    torch.manual_seed(0)
    tensors = [torch.randn(10, 5), torch.randn(7, 5), torch.randn(7)]
    target = torch.randint(7, (10,))
    target[[2, 9]] = -100
    options: dict[str, Any] = {
        "reduction": reduction,
        "label_smoothing": smoothing,
        "weight": torch.rand(7) + 0.1 if has_weights else None,
    }
    found = results(
        lambda x, W, b: ops.linear_cross_entropy(x, W, target, linear_bias=b, **options), tensors
    )
    expected = results(
        lambda *given: ops.cross_entropy(ops.linear(*given), target, **options), tensors
    )
    torch.testing.assert_close(found, expected)


def test_an_ignored_sample_may_have_any_logits() -> None:
    torch.manual_seed(0)
    x, W = torch.randn(3, 5), torch.randn(4, 5)
    x[1, 2] = torch.nan
    target = torch.tensor([1, -100, 3])
    loss, grad_x = results(lambda x: ops.linear_cross_entropy(x, W, target), [x])
    assert loss.isfinite()
    assert grad_x[1].tolist() == [0] * 5
    assert grad_x.isfinite().all()


def test_a_class_without_weight_may_have_any_logits() -> None:
    torch.manual_seed(0)
    x, W = torch.randn(3, 5), torch.randn(4, 5)
    x[1, 2] = torch.nan
    target, weight = torch.tensor([1, 2, 3]), torch.tensor([1.0, 1.0, 0.0, 2.0])
    found, expected = (
        results(f, [x])
        for f in (
            lambda x: ops.linear_cross_entropy(x, W, target, weight=weight),
            lambda x: ops.cross_entropy(ops.linear(x, W), target, weight=weight),
        )
    )
    torch.testing.assert_close(found, expected)


def test_a_loss_that_needs_no_gradient_leaves_its_inputs_and_computes_none() -> None:
    torch.manual_seed(0)
    x, W, target = torch.randn(3, 5), torch.randn(4, 5), torch.tensor([1, 0, 3])
    before = x.clone(), W.clone()
    expected = torch.nn.functional.cross_entropy(x @ W.t(), target)
    torch.testing.assert_close(ops.linear_cross_entropy(x, W, target), expected)
    torch.testing.assert_close((x, W), before, rtol=0, atol=0)


def test_the_backward_pass_may_run_twice() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, requires_grad=True)
    loss = ops.linear_cross_entropy(x, torch.randn(4, 5), torch.tensor([1, 0, 3]))
    (first,) = torch.autograd.grad(2 * loss, x, retain_graph=True)
    (second,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(first, 2 * second)


def test_a_loss_of_each_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="reduction is 'none', expected 'mean' or 'sum'"):
        ops.linear_cross_entropy(
            torch.randn(3, 5), torch.randn(4, 5), torch.tensor([1, 0, 3]), reduction="none"
        )


@pytest.mark.parametrize("kernels", ["fused", "formula"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("special", [None, torch.nan])
def test_relu_and_dropout_are_those_two(
    special: float | None, layout: torch.memory_format, kernels: Kernels
) -> None:
    x = torch.randn(4, 9, 12, 10).round(decimals=1).contiguous(memory_format=layout)  # with zeros
    found = []
    for function in (lambda x: ops.relu_dropout(x, 0.3), lambda x: ops.dropout(ops.relu(x), 0.3)):
        torch.manual_seed(0)
        with use_kernels(kernels):
            found.append(results(function, [x]))
    same(*found)
    if special is not None:
        x[0] = special
        with use_kernels(kernels):
            y, gradient = results(lambda x: ops.relu_dropout(x, 0.3), [x])
        assert y[0].isnan().all()
        assert gradient[0].ne(0).all()  # it is seen there, where the unit was dropped too


def test_relu_and_dropout_save_their_output_alone() -> None:
    x = torch.randn(20, 30)
    assert saved_bytes(lambda x: ops.relu_dropout(x, 0.3), [x]) == 0
    assert saved_bytes(lambda x: ops.dropout(ops.relu(x), 0.3), [x]) == 20 * 30 * (4 + 1)


def test_what_drops_every_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="p is 1"):
        ops.relu_dropout(torch.ones(3), 1.0)
