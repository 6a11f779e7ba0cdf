"""`check` on whole networks: it finds the layer that is wrong, and no other."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree as XML

import pytest
import torch
from small_files import CONFIGS
from torch import Tensor
from torch.autograd.function import once_differentiable

from bptrain import nn
from bptrain.ops.operation import Passes
from bptrain.verify import Sampling, check


class ScaleFunction(torch.autograd.Function):
    """y = s x, whose s' forgets all samples but the first when `is_wrong`."""

    @staticmethod
    def forward(ctx, x: Tensor, s: Tensor, is_wrong: bool) -> Tensor:
        ctx.save_for_backward(x, s)
        ctx.is_wrong = is_wrong
        return x * s

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, s = ctx.saved_tensors
        grad_s = grad[0] * x[0] if ctx.is_wrong else (grad * x).sum(0)
        return grad * s, grad_s, None


class Scale(torch.nn.Module):
    """A user's own layer."""

    def __init__(self, features: int, is_wrong: bool = False) -> None:
        super().__init__()
        self.s = torch.nn.Parameter(torch.linspace(0.5, 2, features))
        self.is_wrong = is_wrong

    def forward(self, x: Tensor) -> Tensor:
        return ScaleFunction.apply(x, self.s, self.is_wrong)


class TorchScale(Scale):
    """The same layer, differentiated by torch."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.s


tanh = import_module("bptrain.ops.tanh")


def ten_layers(is_wrong: bool = False) -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 12),
        Scale(12, is_wrong), nn.Linear(12, 8), nn.Sigmoid(), nn.Linear(8, 4), nn.ReLU(),
    )  # fmt: skip


BATCH = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


def test_a_right_network_passes_against_every_oracle() -> None:
    report = check(ten_layers(), BATCH)
    assert report.ok, report
    assert {row.oracle for row in report.rows} == {
        "finite differences",
        "torch autograd",
        "float32",
    }
    assert {row.layer for row in report.rows} == {*map(str, range(10)), "whole model"}


def test_a_planted_error_is_found_in_its_layer_and_no_other_is_named() -> None:
    report = check(ten_layers(is_wrong=True), BATCH)
    assert not report.ok
    assert report.wrong_layers == ["5"]
    assert {row.tensor for row in report.wrong} == {"s"}
    assert "5" in str(report)
    assert report.notes == ["the whole model is not checked while a layer is wrong"]


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_an_error_in_one_of_our_own_layers_is_found_by_both_oracles(
    monkeypatch: pytest.MonkeyPatch, kernels: str
) -> None:
    wrong = Passes(tanh.forward, lambda grad_y, saved: grad_y * (1 - saved.y))
    monkeypatch.setattr(tanh.tanh_function, kernels, wrong)
    report = check(ten_layers(), BATCH)
    assert report.wrong_layers == ["3"]
    assert {row.kernels for row in report.wrong} == {kernels}
    assert {row.oracle for row in report.wrong} >= {"finite differences", "torch autograd"}


@pytest.mark.parametrize("is_wrong", [False, True])
def test_one_layer_alone_is_checked_by_itself(is_wrong: bool) -> None:
    report = check(Scale(6, is_wrong), BATCH)
    assert report.ok != is_wrong
    assert {row.oracle for row in report.rows} == {"finite differences", "float32"}


def test_the_kernel_and_the_formula_each_have_their_rows() -> None:
    report = check(ten_layers(), BATCH)
    assert {row.kernels for row in report.rows if row.layer == "3"} == {"fused", "formula"}
    assert {row.kernels for row in report.rows if row.layer == "0"} == {"formula"}
    assert {row.kernels for row in report.rows if row.layer == "whole model"} == {
        "fused",
        "formula",
    }


def test_a_reference_of_the_users_own_takes_the_place_of_torch_nn() -> None:
    report = check(Scale(6), BATCH, reference=TorchScale(6))
    assert report.ok
    assert "torch autograd" in {row.oracle for row in report.rows}
    wrong = check(Scale(6, is_wrong=True), BATCH, reference=TorchScale(6))
    assert {row.oracle for row in wrong.wrong} >= {"finite differences", "torch autograd"}


def test_a_wrong_element_among_those_not_sampled_shows() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 400)
    assert check(Scale(400), x, sampling=Sampling(elements=2)).ok
    assert not check(Scale(400, is_wrong=True), x, sampling=Sampling(elements=2)).ok


class AbsFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, p: Tensor) -> Tensor:
        ctx.save_for_backward(x, p)
        return x * p.abs()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, p = ctx.saved_tensors
        return grad * p.abs(), (grad * x * torch.where(p < 0, -1, 1)).sum(0)


class Abs(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.p = torch.nn.Parameter(torch.tensor([0.0, 1.0, -1.0]))  # the first sits on the kink

    def forward(self, x: Tensor) -> Tensor:
        return AbsFunction.apply(x, self.p)


def test_a_kink_that_cannot_be_avoided_is_said_and_not_called_wrong() -> None:
    report = check(Abs(), torch.ones(2, 3))
    assert report.ok, report
    assert next(row.kinks for row in report.rows if row.tensor == "p") == 1


def test_zeros_before_a_relu_are_moved_off_its_kink() -> None:
    report = check(nn.ReLU(), torch.zeros(3, 4))
    assert report.ok
    assert sum(row.kinks for row in report.rows) == 0


def test_the_module_and_the_callers_random_state_are_left_as_they_were() -> None:
    module = ten_layers()
    before = {name: each.clone() for name, each in module.state_dict().items()}
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    check(module, BATCH)
    assert torch.random.get_rng_state().equal(state)
    for name, each in module.state_dict().items():
        assert each.equal(before[name])
    assert all(parameter.grad is None for parameter in module.parameters())


def test_nothing_to_differentiate_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to differentiate"):
        check(torch.nn.Flatten(), torch.ones(2, 3, dtype=torch.int64))


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_training_under_autocast_is_checked_in_its_precision(precision: torch.dtype) -> None:
    report = check(ten_layers(), BATCH, precision=precision)
    assert report.ok, report
    errors = [row.found.relative_error for row in report.rows if row.oracle == str(precision)[6:]]
    assert max(errors) > torch.finfo(torch.float32).eps


def test_check_of_a_config_prints_the_table_and_exits_0(bptrain: Callable) -> None:
    shown = bptrain("check", CONFIGS / "digits_mlp.yaml", "model.hidden=[8]")
    assert shown.exit_code == 0, shown.output
    for word in (
        "model.linear1",
        "weight",
        "numeric",
        "torch",
        "float32",
        "every gradient is right",
    ):
        assert word in shown.stdout


def test_check_gives_json_and_junit(bptrain: Callable, tmp_path: Path) -> None:
    words = ["model.hidden=[8]", "--json", "--junit", "check.xml"]
    shown = bptrain("check", CONFIGS / "digits_tanh_mse.yaml", *words)
    found = json.loads(shown.stdout)
    assert found["ok"] is True
    keys = {"layer", "tensor", "index", "ours", "reference", "relative_error", "verdict"}
    assert keys <= set(found["rows"][0])
    suite = XML.parse(tmp_path / "check.xml").getroot()
    assert int(suite.get("tests", 0)) == len(found["rows"]) == len(suite.findall("testcase"))
    assert suite.findall("*/failure") == []


def test_check_of_a_wrong_gradient_exits_11_and_names_it(
    bptrain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relu = import_module("bptrain.ops.relu")
    wrong = Passes(relu.forward, lambda grad_y, saved: grad_y)
    monkeypatch.setattr(relu.relu_function, "fused", wrong)
    words = ["model.hidden=[8]", "--junit", "check.xml"]
    shown = bptrain("check", CONFIGS / "digits_mlp.yaml", *words)
    assert shown.exit_code == 11
    assert "model.relu1" in shown.stderr
    assert "linear" not in shown.stderr
    assert len(shown.stderr.strip().splitlines()) <= 6
    assert "WRONG" in shown.stdout
    failures = XML.parse(tmp_path / "check.xml").getroot().findall("testcase[failure]")
    assert {case.get("classname") for case in failures} == {"model.relu1"}
