"""Compiled programs: the same training as by autograd, to rounding, or a reason why not."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from networks import NETWORKS, Signed, regression
from small_files import CONFIGS
from test_equal_gradients import trained
from torch import Tensor
from typer.testing import Result

import bptrain.tape.compiled
from bptrain import nn
from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.tape import Autograd, Notices, Step
from bptrain.tape.compiled import CompiledProgram, failure

Bptrain = Callable[..., Result]
LOOPS = [n for n in NETWORKS if any(each in n for each in ("rnn", "lstm", "gru"))]
COMPILED = [name for name in NETWORKS if name not in LOOPS]


def compare(name: str, kernels: Kernels) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    step = Step(network.model, network.loss, compiles=True)
    autograd = Autograd(deepcopy(network.model), deepcopy(network.loss))
    with use_kernels(kernels):
        ours, reference = trained(step, network), trained(autograd, network)
    assert (step.reasons, step.not_compiled) == ([], [])
    for one, other in zip(ours, reference, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["fused", "formula"])
@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_step_trains_as_by_autograd(name: str, kernels: Kernels) -> None:
    compare(name, kernels)


NORMS: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: nn.BatchNorm2d(8),
    "group": lambda: nn.GroupNorm(2, 8),
    "instance": lambda: nn.InstanceNorm2d(8, affine=True),
    "layer": lambda: nn.LayerNorm([8, 6, 6]),
    "RMS": lambda: nn.RMSNorm([8, 6, 6]),
}


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_is_compiled_under_autocast(norm: str) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    layers = (convolution, NORMS[norm](), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    model = nn.Sequential(*layers)
    step = Step(model, nn.CrossEntropyLoss(), compiles=True)
    with torch.autocast("cpu", torch.bfloat16):
        step(torch.randn(5, 3, 6, 6), torch.randint(4, (5,)))
    assert (step.reasons, step.not_compiled) == ([], [])


def test_a_step_that_is_recorded_anew_is_not_compiled_and_a_reason_is_given() -> None:
    network, said = regression(Signed(), 5), []
    notices = Notices(not_compiled=said.append)
    step = Step(network.model, network.loss, notices, compiles=True)
    for _ in range(2):
        step(network.inputs, *network.targets)
    assert said == step.not_compiled
    assert len(said) == 1
    assert "recorded again" in said[0]


def test_without_a_compiler_it_runs_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bptrain.tape.compiled, "COMPILERS", ("no such compiler",))
    step = Step(nn.Linear(5, 3), nn.MSELoss(), compiles=True)
    step(torch.randn(6, 5), torch.randn(6, 3))
    assert step.reasons == []
    assert "install g++" in step.not_compiled[0]


@pytest.mark.parametrize("asked", ["true", "auto"])
def test_a_run_that_cannot_be_compiled(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr("bptrain.tape.compiled.COMPILERS", ("no such compiler",))
    words = ["train.steps=2", "data.batch_size=100", f"compile={asked}", "--run-dir", "run"]
    result = bptrain("fit", CONFIGS / "digits_mlp.yaml", *words)
    if asked == "auto":
        assert result.exit_code == 0, result.stderr
        assert result.stdout.count("not compiled: no C++ compiler was found") == 1
    else:
        assert result.exit_code == 2
        assert "cannot be compiled" in result.stderr
        assert "install g++" in result.stderr


@pytest.mark.parametrize("words", [["engine=autograd"], ["train.checkpointing=sqrt"]])
def test_what_excludes_the_compiler_is_refused(bptrain: Bptrain, words: list[str]) -> None:
    result = bptrain("fit", CONFIGS / "digits_mlp.yaml", "compile=true", "train.steps=2", *words)
    assert result.exit_code == 2
    assert "compile" in result.stderr


@pytest.mark.parametrize(("off", "is_used"), [(1.01, True), (1.2, False)])
def test_compiled_code_that_is_wrong_is_not_used(
    monkeypatch: pytest.MonkeyPatch, off: float, is_used: bool
) -> None:
    def graph(function: Callable[..., Any], given: Sequence[Tensor]) -> Callable[..., Any]:
        if function.__name__ == "_forward":
            return function
        return lambda *tensors: [off * each for each in function(*tensors)]

    monkeypatch.setattr(bptrain.tape.compiled, "_compiled", graph)
    step = Step(nn.Linear(5, 3), nn.MSELoss(), compiles=True)
    step(torch.randn(6, 5), torch.randn(6, 3))
    assert step.reasons == []
    (program,) = step._programs.values()
    assert isinstance(program, CompiledProgram) is is_used
    assert len(step.not_compiled) == (not is_used)


OF_TOKENS: dict[str, tuple[nn.Module, Tensor]] = {
    "classes": (nn.CrossEntropyLoss(label_smoothing=0.1), torch.tensor([[1, 0, -100], [6, 2, 2]])),
    "probabilities": (nn.CrossEntropyLoss(), torch.full((2, 7, 3), 1 / 7)),
    "labels": (nn.BCEWithLogitsLoss(pos_weight=torch.ones(7, 1)), torch.zeros(2, 7, 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("targets", OF_TOKENS)
def test_the_formula_of_a_loss_is_compiled_whose_classes_lie_last_in_memory(targets: str) -> None:
    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.output = nn.Linear(5, 7)

        def forward(self, x: Tensor) -> Tensor:
            return self.output(x).transpose(1, 2)

    loss, t = OF_TOKENS[targets]
    torch.manual_seed(0)
    model, x = Tokens(), torch.randn(2, 3, 5)
    step, autograd = Step(model, loss, compiles=True), Autograd(deepcopy(model), loss)
    with use_kernels("formula"):
        for engine in (step, autograd):
            run = engine.begin((x,), (t,))
            run.forward()
            run.loss()
            run.backward(lambda loss: loss)
    assert (step.reasons, step.not_compiled) == ([], [])
    for ours, theirs in zip(model.parameters(), autograd.model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_cause_of_the_compilers_failure_is_named() -> None:
    error = RuntimeError("backend='inductor' raised:\nValueError: no view\n\nWhile executing ...")
    assert str(failure(error)) == "torch.compile fails: ValueError: no view"
    assert str(failure(RuntimeError())) == "torch.compile fails: RuntimeError"
