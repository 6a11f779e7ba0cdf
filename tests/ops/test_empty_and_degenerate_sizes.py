"""Sizes of 0, and of 1 where more are usual: as torch.nn, in values, gradients and shapes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bptrain import nn, ops
from bptrain.ops.kernels import Kernels, use_kernels

Shape = tuple[int, ...]
pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
both_kernels = pytest.mark.parametrize("kernels", ["fused", "formula"])


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def outcomes(
    function: Callable[..., Tensor], tensors: list[Tensor]
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the output and the gradient by each tensor, and by each parameter of a module."""
    given = [each.detach().requires_grad_(each.is_floating_point()) for each in tensors]
    y = function(*given)
    y.backward(torch.ones_like(y))
    is_module = isinstance(function, torch.nn.Module)
    parameters = list(function.parameters()) if is_module else []
    return y, [each.grad for each in [*given, *parameters]]


def assert_same(
    ours: Callable[..., Tensor], reference: Callable[..., Tensor], tensors: list[Tensor]
) -> None:
    found, expected = outcomes(ours, tensors), outcomes(reference, tensors)
    torch.testing.assert_close(found, expected, equal_nan=True)


def assert_module_as_in_torch(name: str, arguments: tuple[Any, ...], *tensors: Tensor) -> None:
    reference = getattr(torch.nn, name)(*arguments).double()
    ours = getattr(nn, name)(*arguments).double()
    ours.load_state_dict(reference.state_dict())
    assert_same(ours, reference, list(tensors))


@both_kernels
@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("Linear", (0, 3), (2, 0)),
        ("Linear", (0, 3, False), (2, 0)),
        ("Linear", (0, 3), (0,)),
        ("Linear", (3, 0), (2, 3)),
        ("Linear", (3, 0), (3,)),
        ("Linear", (0, 0), (2, 0)),
        ("Linear", (3, 2), (0, 4, 3)),
        ("Linear", (1, 1), (1,)),
        ("RNNCell", (0, 4), (2, 0)),
        ("GRUCell", (0, 4), (2, 0)),
        ("Conv2d", (2, 3, 2), (0, 2, 4, 4)),
        ("AdaptiveAvgPool1d", (2,), (0, 4)),
        ("AdaptiveAvgPool1d", (1,), (2, 0, 4)),
        ("AdaptiveAvgPool1d", (1,), (2, 3, 0)),
        ("AdaptiveAvgPool2d", (2,), (0, 4, 5)),
        ("AdaptiveAvgPool2d", (8,), (0, 4, 5)),
        ("AdaptiveAvgPool2d", (1,), (2, 0, 4, 5)),
        ("AdaptiveAvgPool2d", (1,), (2, 3, 0, 0)),
        ("AdaptiveMaxPool2d", (2,), (0, 4, 5)),
        ("Embedding", (3, 0), ()),
    ],
)
def test_modules(name: str, arguments: tuple[Any, ...], shape: Shape, kernels: Kernels) -> None:
    is_embedding = name == "Embedding"
    input = torch.tensor([0, 2]) if is_embedding else drawn(*shape)
    with use_kernels(kernels):
        assert_module_as_in_torch(name, arguments, input)


@pytest.mark.parametrize(
    ("arguments", "first", "second"),
    [((2, 3, 0), (2, 2), (2, 3)), ((2, 3, 4), (0, 2), (0, 3))],
)
def test_bilinear(arguments: tuple[int, ...], first: Shape, second: Shape) -> None:
    assert_module_as_in_torch("Bilinear", arguments, drawn(*first), drawn(*second))


@both_kernels
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", ["NLLLoss", "CrossEntropyLoss"])
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0), (0, 0)])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_losses_of_no_samples(
    name: str, shape: Shape, reduction: str, is_weighted: bool, kernels: Kernels
) -> None:
    weight = torch.ones(shape[1]) if is_weighted else None
    target = torch.zeros(shape[:1] + shape[2:], dtype=torch.int64)
    options: dict[str, Any] = {"reduction": reduction, "weight": weight}
    if name == "CrossEntropyLoss" and shape[1]:
        options["label_smoothing"] = 0.1
    ours, reference = (getattr(package, name)(**options).double() for package in (nn, torch.nn))
    with use_kernels(kernels):
        assert_same(ours, reference, [drawn(*shape), target])


@both_kernels
@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0), (0, 0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_no_probabilities(
    shape: Shape, smoothing: float, kernels: Kernels
) -> None:
    ours, reference = (
        package.CrossEntropyLoss(label_smoothing=smoothing) for package in (nn, torch.nn)
    )
    with use_kernels(kernels):
        assert_same(ours, reference, [drawn(*shape), drawn(*shape)])


@both_kernels
@pytest.mark.parametrize(
    ("query", "key", "value"),
    [
        ((1, 2, 3, 0), (1, 2, 4, 0), (1, 2, 4, 5)),
        ((1, 2, 3, 0), (1, 2, 4, 0), (1, 2, 4, 0)),
        ((3, 0), (4, 0), (4, 2)),
        ((1, 0, 3, 5), (1, 0, 4, 5), (1, 0, 4, 5)),
        ((1, 2, 0, 5), (1, 2, 4, 5), (1, 2, 4, 5)),
        ((1, 2, 3, 5), (1, 2, 0, 5), (1, 2, 0, 5)),
    ],
)
def test_attention(query: Shape, key: Shape, value: Shape, kernels: Kernels) -> None:
    tensors = [drawn(*query), drawn(*key), drawn(*value)]
    with use_kernels(kernels):
        assert_same(
            ops.scaled_dot_product_attention,
            torch.nn.functional.scaled_dot_product_attention,
            tensors,
        )


@pytest.mark.parametrize("module", [nn.Linear(1, 1), nn.Linear(1, 3), nn.Linear(3, 1)])
@pytest.mark.parametrize("shape", [(), (2,), (3, 6)])
def test_a_linear_input_of_another_shape_is_refused(module: nn.Linear, shape: Shape) -> None:
    with pytest.raises(ValueError, match="expected"):
        module(torch.zeros(shape))


@pytest.mark.parametrize("channels", [(0, 3), (2, 0)])
def test_a_convolution_without_channels_is_refused(channels: tuple[int, int]) -> None:
    # torch's convolution of no channels returns none, where 3 copies of the bias are right
    for convolution in (nn.Conv1d(*channels, 2), nn.ConvTranspose1d(*channels, 2)):
        with pytest.raises(ValueError, match="expected none of them 0"):
            convolution(torch.zeros(1, channels[0], 4))


@pytest.mark.parametrize("shape", [(2, 3, 0), (0, 3, 0), (3, 0)])
def test_more_windows_than_an_empty_line_has_are_refused(shape: Shape) -> None:
    with pytest.raises(ValueError, match="where only N or C may be 0"):
        ops.adaptive_avg_pool1d(torch.zeros(shape), 2)


@pytest.mark.parametrize("loss", [ops.cross_entropy, ops.nll_loss])
def test_samples_without_a_class_are_refused(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match="expected one class or more"):
        loss(torch.zeros(2, 0), torch.zeros(2, dtype=torch.int64))


PAIRS = [
    *(ops.mse_loss, ops.l1_loss, ops.smooth_l1_loss, ops.huber_loss, ops.binary_cross_entropy),
    *(ops.binary_cross_entropy_with_logits, ops.kl_div, ops.poisson_nll_loss),
    *(ops.hinge_embedding_loss, ops.cross_entropy, ops.nll_loss),
]


@pytest.mark.parametrize("loss", PAIRS, ids=lambda loss: loss.__name__)
def test_a_loss_of_integers_is_refused(loss: Callable[..., Tensor]) -> None:
    x, t = torch.tensor([[1, 0], [2, 1]]), torch.tensor([[1, 0], [0, 1]])
    t = t[0] if loss in (ops.cross_entropy, ops.nll_loss) else t
    with pytest.raises(ValueError, match="expected floating point"):
        loss(x, t)


def test_targets_of_floating_point_are_no_classes_of_ctc() -> None:
    x = torch.randn(5, 2, 3).log_softmax(2)
    with pytest.raises(ValueError, match="expected classes, integers"):
        ops.ctc_loss(x, torch.tensor([[1.5, 2], [1, 2]]), (5, 5), (2, 2))


def test_attention_of_integers_is_refused() -> None:
    x = torch.ones(3, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="expected one of floating point"):
        ops.scaled_dot_product_attention(x, x, x)
