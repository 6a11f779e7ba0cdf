"""torch's functions between layers are recorded as the operations that they are."""

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from cases import OPS
from cases.case import OpCase
from torch import Tensor

from bptrain import nn, ops
from bptrain.tape import record
from bptrain.verify.named_tensors import named

CASES = [
    next(case for case in OPS if case.op == name and case.smooth)
    for name in ops.__all__
    if hasattr(F, name) and name != "linear_cross_entropy"  # torch's own is many functions
]
X, Y = torch.randn(6, 5), torch.randn(6, 4)


class CallsTorch(torch.nn.Module):
    """Calls torch's function of a case, with parameters for all that is differentiated."""

    def __init__(self, case: OpCase) -> None:
        super().__init__()
        self.case, self.tensors = case, torch.nn.ParameterDict()
        for name, each in case.draw(torch.float64, "cpu").items():
            is_trained = each.is_floating_point() and name not in case.constants
            self.tensors[name] = torch.nn.Parameter(each, requires_grad=is_trained)

    def forward(self, _: Tensor) -> Tensor:
        def function(*args: object, **options: object) -> object:
            return getattr(F, self.case.op)(*args, **options, **self.case.options)

        outputs = named("output", self.case.call(function, dict(self.tensors)))
        return next(iter(outputs.values()))


def assert_is_on_the_tape(model: torch.nn.Module, operation: str = "") -> None:
    """Check a step's gradients against autograd's, and that the tape ran it."""
    torch.manual_seed(0)
    target = torch.randn_like(model(X))
    step = record(model, nn.MSELoss())
    torch.manual_seed(0)
    loss = step(X, target)
    assert step.reasons == []
    ours = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    torch.manual_seed(0)
    reference = nn.MSELoss()(model(X), target)
    reference.backward()
    torch.testing.assert_close(loss, reference.detach())
    torch.testing.assert_close(ours, [parameter.grad for parameter in model.parameters()])
    assert operation in step.text((X,), (target,))


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_a_function_of_torch_is_recorded_as_the_operation_of_its_name(case: OpCase) -> None:
    assert_is_on_the_tape(CallsTorch(case))


class Net(torch.nn.Module):
    """Two layers of ours, and what a test puts between them."""

    def __init__(self, between: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 4), nn.Linear(5, 4), nn.LazyLinear(4)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(self.between(self.first(x), self.second(x)))
        return output


WRITTEN = {
    "x + y": (lambda x, y: x + y, "add"),
    "torch.add(x, y, alpha=2)": (lambda x, y: torch.add(x, y, alpha=2), "add"),
    "x += y": (lambda x, y: operator.iadd(x, y), "add"),
    "x.add_(y[0])": (lambda x, y: x.add_(y[0]), "add"),
    "x + 1": (lambda x, y: x + 1, "add"),
    "x.add(other=1)": (lambda x, y: x.add(other=1), "add"),
    "x - y": (lambda x, y: x - y, "add"),
    "torch.sub(x, y, alpha=2)": (lambda x, y: torch.sub(x, y, alpha=2), "add"),
    "1 - x": (lambda x, y: 1 - x, "mul"),
    "-x": (lambda x, y: -x, "mul"),
    "x * y": (lambda x, y: x * y, "mul"),
    "2 * x": (lambda x, y: 2 * x, "mul"),
    "x / 3": (lambda x, y: x / 3, "mul"),
    "x * y[:1]": (lambda x, y: x * y[:1], "mul"),
    "x *= y": (lambda x, y: operator.imul(x, y), "mul"),
    "x -= y": (lambda x, y: operator.isub(x, y), "add"),
    "x /= 2": (lambda x, y: operator.itruediv(x, 2), "mul"),
    "x.sub_(1)": (lambda x, y: x.sub_(1), "add"),
    "x.mean(0)": (lambda x, y: x * x.mean(0), "mean"),
    "torch.mean": (lambda x, y: x * torch.mean(x, (0, -1), keepdim=True), "mean"),
    "torch.cat": (lambda x, y: torch.cat([x, y], 1), "cat"),
    "torch.concat": (lambda x, y: torch.concat((x, y), dim=1), "cat"),
    "x.relu()": (lambda x, y: x.relu(), "relu"),
    "x.relu_()": (lambda x, y: x.relu_(), "relu"),
    "torch.relu_": (lambda x, y: torch.relu_(x), "relu"),
    "F.relu(x, inplace=True)": (lambda x, y: F.relu(x, inplace=True), "relu"),
    "F.silu(x, inplace=True), which reads x": (lambda x, y: F.silu(x, inplace=True), "silu"),
    "x.softmax(1)": (lambda x, y: x.softmax(1), "softmax"),
    "torch.log_softmax": (lambda x, y: torch.log_softmax(x, dim=-1), "log_softmax"),
    "F.sigmoid": (lambda x, y: F.sigmoid(x), "sigmoid"),
    "torch.tanh": (lambda x, y: torch.tanh(x), "tanh"),
    "x.sigmoid()": (lambda x, y: x.sigmoid(), "sigmoid"),
}


@pytest.mark.parametrize(("between", "operation"), WRITTEN.values(), ids=WRITTEN)
def test_what_a_model_writes_between_layers_is_recorded(
    between: Callable[[Tensor, Tensor], Tensor], operation: str
) -> None:
    net = Net(between)
    net(X)
    assert_is_on_the_tape(net, operation)


def test_an_in_place_layer_that_reads_its_input_has_its_gradient_in_a_step_recorded_anew() -> None:
    def between(x: Tensor, y: Tensor) -> Tensor:
        return F.silu(x, inplace=True) if y.detach().sum().isfinite() else x

    net = Net(between)
    net(X)
    assert_is_on_the_tape(net, "silu")


def test_a_view_fits_whatever_a_fused_operation_lays_out() -> None:
    # relu and max-pool as one leave one position of channels last, of which torch's next pooling
    # makes an output with its channels last
    model = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 5)),
        nn.Conv1d(1, 8, 2),
        nn.Unflatten(2, (2, 2)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
    )
    assert_is_on_the_tape(model, "relu_max_pool")


OFF = {
    "x / y": (lambda x, y: x / (y.detach() + 9), "div is called as no operation of bptrain"),
    "2 / x": (lambda x, y: 2 / (x + 9), "aten.reciprocal.default is not an operation"),
    "a number first": (lambda x, y: torch.mul(2, x), "aten.mul.Tensor is not an operation"),
    "a dtype": (lambda x, y: x * x.mean(dtype=torch.float64), "aten.mean.default is not an"),
    "rounded": (lambda x, y: x + torch.div(y, 2, rounding_mode="floor"), "aten.div.Tensor_mode"),
    "into another dtype": (
        lambda x, y: x.half().add_(y).float(),
        "add_ is called as no operation of bptrain: the result has another shape or dtype",
    ),
    "deprecated options": (
        lambda x, y: F.l1_loss(x, y, size_average=False, reduce=False),
        "is not an operation of bptrain, and has a gradient",
    ),
    "a mode": (
        lambda x, y: F.interpolate(x[None, None], size=(6, 4), mode="area").squeeze((0, 1)),
        "interpolate is called as no operation of bptrain: mode",
    ),
}


@pytest.mark.filterwarnings("ignore:size_average and reduce args:UserWarning")
@pytest.mark.parametrize(("between", "reason"), OFF.values(), ids=OFF)
def test_what_the_operation_does_not_have_runs_by_autograd(
    between: Callable[[Tensor, Tensor], Tensor], reason: str
) -> None:
    net = Net(between)
    net(X)
    step = record(net, nn.MSELoss())
    loss = step(X, Y)
    torch.testing.assert_close(loss, nn.MSELoss()(net(X), Y).detach())
    assert len(step.reasons) == 1
    assert reason in step.reasons[0]
