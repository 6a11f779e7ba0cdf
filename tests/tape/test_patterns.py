"""Chains in the table run as one fused operation, and only where nothing else reads their parts."""

from collections.abc import Callable

import pytest
import torch
from networks import NETWORKS
from torch import Tensor

from bptrain import nn
from bptrain.ops.kernels import use_kernels
from bptrain.tape import record
from bptrain.tape.calls import Call

X, Y = torch.randn(6, 5), torch.randn(6, 4)


class Net(torch.nn.Module):
    """A linear layer, an activation, and what is made of both."""

    def __init__(self, made: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.linear, self.relu, self.add, self.made = nn.Linear(5, 4), nn.ReLU(), nn.Add(), made

    def forward(self, x: Tensor) -> object:
        a = self.linear(x)
        return self.made(a, self.relu(a))


class Loss(nn.MSELoss):
    """The loss of the first output."""

    def forward(self, input: Tensor | tuple, target: Tensor) -> Tensor:
        return super().forward(input[0] if isinstance(input, tuple) else input, target)


def names(model: torch.nn.Module, x: Tensor = X, y: Tensor = Y) -> list[str]:
    step = record(model, Loss())
    step.begin((x,), (y,))
    assert step.reasons == []
    (program,) = step._programs.values()
    return [each.operation.name for each in program.entries if isinstance(each, Call)]


def test_linear_and_relu_are_one_operation() -> None:
    assert names(Net(lambda a, y: y)) == ["linear_relu", "mse_loss"]


def test_convolution_relu_and_max_pool() -> None:
    x, y = torch.randn(2, 1, 8, 8), torch.randn(2, 4)
    front = [nn.Conv2d(1, 3, 3), nn.ReLU()]
    for pools, width, expected in (
        ([], 108, ["conv_relu"]),
        ([nn.MaxPool2d(2)], 27, ["conv", "relu_max_pool"]),
        ([nn.AdaptiveMaxPool2d(3)], 27, ["conv_relu", "max_pool"]),
        ([nn.AvgPool2d(2)], 27, ["conv_relu", "avg_pool"]),
    ):
        model = torch.nn.Sequential(*front, *pools, nn.Flatten(), nn.Linear(width, 4))
        assert names(model, x, y)[: len(expected)] == expected


def test_what_is_kept_is_a_byte_a_winner() -> None:
    model = torch.nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    run = record(model, Loss()).begin((torch.randn(2, 1, 8, 8),), (torch.randn(2, 27),))
    run.forward()
    _, pooled, *_ = run.saved
    assert (pooled.k.dtype, pooled.k.shape) == (torch.uint8, (2, 3, 3, 3))


def test_relu_and_dropout_keep_what_the_next_layer_keeps() -> None:
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Dropout(0.4), nn.Linear(4, 4))
    assert names(model) == ["linear", "relu_dropout", "linear", "mse_loss"]
    model[2].p = 1.0  # of such a unit the output tells nothing
    assert names(model) == ["linear_relu", "dropout", "linear", "mse_loss"]


def test_not_by_the_formulas() -> None:
    with use_kernels("formula"):
        assert names(Net(lambda a, y: y)) == ["linear", "relu", "mse_loss"]


@pytest.mark.parametrize(
    "made",
    [
        lambda a, y: nn.Add()(a, y),  # the product has a second reader
        lambda a, y: (y, a),  # the caller is given the product
        lambda a, y: (a, y),
    ],
)
def test_not_where_the_product_is_read_besides(made: Callable[[Tensor, Tensor], object]) -> None:
    assert "linear_relu" not in names(Net(made))


def test_not_across_the_model_and_the_loss() -> None:
    class Rectified(Loss):
        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            return super().forward(nn.ReLU()(input), target)

    step = record(nn.Linear(5, 4), Rectified())
    step.begin((X,), (Y,))
    (program,) = step._programs.values()
    assert [each.operation.name for each in program.entries] == ["linear", "relu", "mse_loss"]
    alone = record(nn.Linear(5, 4), Rectified())
    alone(X, Y)  # returns the loss alone: nobody reads the outputs
    (program,) = alone._programs.values()
    assert [each.operation.name for each in program.entries] == ["linear_relu", "mse_loss"]


class Tokens(torch.nn.Module):
    """A model with an output for each token of each text."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(5, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x)
        return logits.flatten(0, -2)


@pytest.mark.parametrize("leading", [(1100,), (11, 100)])
def test_many_classes_and_their_loss_are_one_operation(leading: tuple[int, ...]) -> None:
    model, loss = Tokens(4000), nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=3)
    x, y = torch.randn(*leading, 5), torch.randint(4000, (1100,))
    step = record(model, loss)
    ours = step(x, y)
    (program,) = step._programs.values()
    assert [each.operation.name for each in program.entries] == ["linear_cross_entropy"]
    gradients = [p.grad for p in model.parameters()]
    model.zero_grad()
    reference = loss(model(x), y)
    reference.backward()
    torch.testing.assert_close(ours, reference.detach())
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_not_where_the_outputs_are_needed_or_there_are_few() -> None:
    x, y = torch.randn(1100, 5), torch.randint(4000, (1100,))
    step = record(Tokens(4000), nn.CrossEntropyLoss())
    run = step.begin((x,), (y,))
    assert run.forward().shape == (1100, 4000)
    small = record(Tokens(4), nn.CrossEntropyLoss())
    small(x, y % 4)
    for each in (step, small):
        (program,) = each._programs.values()
        called = [entry.operation.name for entry in program.entries if isinstance(entry, Call)]
        assert called == ["linear", "cross_entropy"]


def test_batch_norm_residual_and_relu_are_one_operation() -> None:
    torch.manual_seed(0)
    network = NETWORKS["resnet"]()
    step = record(network.model, network.loss)
    step.begin(network.inputs, network.targets)
    (program,) = step._programs.values()
    called = [each.operation.name for each in program.entries if isinstance(each, Call)]
    assert "relu" not in called
    assert "add" not in called
    assert called.count("batch_norm_relu") == 1 + 3 * 2  # the stem, and two in each block


def test_a_residual_that_is_not_alike_or_is_itself_stays_an_addition() -> None:
    class Doubled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.add, self.relu = nn.BatchNorm1d(5), nn.Add(), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(x)
            y: Tensor = self.relu(self.add(h, h))
            return y

    assert names(Doubled(), X, torch.randn(6, 5)) == ["batch_norm", "add", "relu", "mse_loss"]


def test_a_residual_that_is_broadcast_stays_an_addition() -> None:
    class Moved(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.add, self.relu = nn.BatchNorm1d(5), nn.Add(), nn.ReLU()
            self.by = torch.nn.Parameter(torch.randn(5))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.relu(self.add(self.norm(x), self.by))
            return y

    assert names(Moved(), X, torch.randn(6, 5)) == ["batch_norm", "add", "relu", "mse_loss"]
