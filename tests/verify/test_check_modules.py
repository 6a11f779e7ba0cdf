"""What `check` is given: functions, models that change values in place, faults outside layers."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor
from trials import FEW

from bptrain import nn
from bptrain.verify import Report, check


class SquareFunction(torch.autograd.Function):
    """y = x^2 as it should be."""

    factor = 2.0

    @classmethod
    def of(cls, factor: float) -> type["SquareFunction"]:
        return type("SquareFunction", (cls,), {"factor": factor})

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class Cubed(torch.autograd.Function):
    """y = x^3 whose gradient lacks its factor 3."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x * x * grad


X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def test_a_function_is_checked_as_it_is() -> None:
    report = check(SquareFunction.apply, X)
    assert report.ok, report
    assert {row.layer for row in report.rows} == {"SquareFunction"}


@pytest.mark.parametrize(
    "function", [Cubed.apply, lambda x: Cubed.apply(x)], ids=["apply", "lambda"]
)
def test_a_wrong_function_is_named(function: Callable[[Tensor], Tensor]) -> None:
    report = check(function, X)
    assert not report.ok
    assert report.summary.startswith(f"wrong: {report.wrong_layers[0]} (")
    assert report.wrong_layers in (["Cubed"], ["<lambda>"])


class Block(torch.nn.Module):
    """A layer, and a wrong function around it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return Cubed.apply(self.linear(x))


def test_a_wrong_module_without_layers_is_named_by_its_class() -> None:
    class Cube(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Cubed.apply(x)

    assert check(Cube(), X).wrong_layers == ["Cube"]


def test_a_fault_in_the_root_modules_own_code_is_named() -> None:
    report = check(Block(), X)
    assert report.wrong_layers == ["whole model"]
    assert "whole model (Block): the error is in the code of its own forward" in str(report)


def test_a_fault_in_a_blocks_own_code_is_named() -> None:
    report = check(torch.nn.Sequential(nn.Tanh(), torch.nn.Sequential(Block(), nn.Tanh())), X)
    assert report.wrong_layers == ["1.0"]
    assert "1.0 (Block): the error is in the code of its own forward" in str(report)


def second_time(change: Callable[[Any, Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return y = x^2, whose backward pass returns `change` of context, input and upstream."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.kept = 2 * x
            return x * x

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return change(ctx, ctx.kept, grad)

    return Function.apply


calls = itertools.count()
OTHERWISE: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "changes what it saved": lambda ctx, kept, grad: kept.mul_(grad).clone(),
    "changes its upstream gradient": lambda ctx, kept, grad: grad.mul_(kept).clone(),
    "counts its calls": lambda ctx, kept, grad: kept * grad * (1 + next(calls)),
    "draws": lambda ctx, kept, grad: kept * grad * torch.rand_like(grad),
}


@pytest.mark.parametrize("change", OTHERWISE.values(), ids=OTHERWISE)
def test_a_backward_that_answers_otherwise_the_second_time_is_found(
    change: Callable[[Any, Tensor, Tensor], Tensor],
) -> None:
    report = check(second_time(change), X)
    assert not report.ok
    assert {row.oracle for row in report.wrong} == {"the second time"}


def test_a_forward_that_answers_otherwise_the_second_time_is_told() -> None:
    count = itertools.count(1)
    report = check(lambda x: x * next(count), X)
    assert [row.verdict for row in report.rows] == ["not judged"]
    assert "other outputs the second time" in str(report)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.BatchNorm1d(3), (2, 3)),
        (nn.BatchNorm2d(3), (1, 3, 1, 2)),
        (nn.LayerNorm(2), (4, 2)),
        (nn.GroupNorm(2, 4), (3, 4)),
        (nn.InstanceNorm1d(3), (2, 3, 2)),
        (torch.nn.BatchNorm1d(3), (2, 3)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else str(value),
)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_normalization_of_two_values_is_told_and_not_judged(
    module: torch.nn.Module, shape: tuple[int, ...], precision: torch.dtype
) -> None:
    x = 100 * torch.randn(shape, generator=torch.Generator().manual_seed(2))
    report = check(module, x, precision=precision)
    assert report.ok, report
    assert any("normalizes over 2 values" in note for note in report.notes)
    assert {row.verdict for row in report.rows if row.tensor == "input"} == {"not judged"}


def test_batch_norm_by_running_statistics_is_judged_whatever_the_batch() -> None:
    report = check(nn.BatchNorm1d(6).eval(), X[:2])
    assert report.ok
    assert report.notes == []


def test_a_value_changed_in_place_is_no_obstacle() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(inplace=True), torch.nn.Flatten(),
        torch.nn.Linear(8, 3), torch.nn.Hardswish(inplace=True),
    )  # fmt: skip
    x = torch.randn(2, 1, 4, 4)
    report = check(model, x)
    assert report.ok, report
    assert {row.layer for row in report.rows} == {"0", "1", "2", "3", "4", "whole model"}


def test_a_torchvision_model_is_checked() -> None:
    block = torchvision.models.resnet.BasicBlock(4, 4)  # one relu, in place, called twice
    report = check(block, torch.zeros(2, 4, 3, 3), sampling=FEW)
    assert report.ok, report
    assert "relu" in {row.layer for row in report.rows}


def test_elements_at_a_kink_are_counted_in_every_form() -> None:
    class Corner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = torch.nn.Parameter(torch.tensor([0.0, 0.0, 1.0]))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.p.relu()

    report = check(Corner(), X[:, :3])
    assert report.ok
    assert report.kinks == 2
    assert "2 elements or directions skipped at kinks" in report.notes[0]
    assert '"skipped_at_kinks": 2' in report.as_json()
    assert "elements skipped at kinks: 2" in report.as_junit()
    assert "2 skipped" in table_of(report)


def table_of(report: Report) -> str:
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    Console(file=out, width=80).print(report.table())
    return out.getvalue()


def test_what_is_not_judged_is_skipped_in_junit() -> None:
    report = check(nn.BatchNorm1d(6), X[:2], sampling=FEW)
    unjudged = sum(not row.is_judged for row in report.rows)
    assert unjudged > 0
    assert report.as_junit().count("<skipped ") == unjudged
    assert f'skipped="{unjudged}"' in report.as_junit()


def test_the_verdict_is_seen_however_long_the_names_are() -> None:
    names = [("a_name_of_thirty_characters_now", nn.Linear(6, 2))]
    inner = torch.nn.Sequential()
    for name, layer in names:
        inner.add_module(name, layer)
    model = torch.nn.Sequential()
    model.add_module("another_name_of_thirty_letters_", inner)
    shown = table_of(check(model, X)).splitlines()
    assert sum(line.rstrip().endswith(" ok") for line in shown) >= 6


def test_progress_is_given_by_layer_and_ends_at_all() -> None:
    seen: list[tuple[str, float]] = []
    check(torch.nn.Sequential(nn.Linear(6, 2), nn.Tanh()), X, progress=lambda *at: seen.append(at))
    assert list(dict.fromkeys(name for name, _ in seen)) == ["0", "1", "whole model"]
    done = [part for _, part in seen]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0)
