"""The printed program, run, gives the step's loss and gradients."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks import NETWORKS
from small_files import CONFIGS
from typer.testing import Result

from bptrain import nn
from bptrain.tape import OffTapeError, record
from bptrain.train.states import CarriesState

Bptrain = Callable[..., Result]


def run(text: str, tensors: dict[str, torch.Tensor], *batch: torch.Tensor) -> tuple:
    names: dict = {}
    exec(text, names)
    with torch.no_grad():
        return names["step"](*batch, tensors)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_text_run_gives_the_same_gradients(name: str) -> None:
    torch.manual_seed(0)
    model, loss, inputs, targets = NETWORKS[name]()
    step = record(model, loss)
    state = torch.get_rng_state()
    text = step.text(inputs, targets)
    assert torch.equal(torch.get_rng_state(), state)
    batch = [each for each in (*inputs, *targets) if isinstance(each, torch.Tensor)]
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {key: value.clone() for key, value in tensors.items()}
    value, gradients = run(text, tensors, *batch)
    model.load_state_dict(before, strict=False)  # a shared weight is named once
    torch.set_rng_state(state)
    if isinstance(model, CarriesState):
        assert not model.carried_state()  # recording left no trace
    assert torch.equal(value, step(inputs, *targets))
    for key, parameter in model.named_parameters():
        if parameter.grad is None:
            assert key not in gradients
        else:
            assert torch.equal(gradients[key], parameter.grad), key


def test_the_text_reads_line_by_line() -> None:
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    text = record(model, nn.MSELoss()).text((torch.randn(6, 5),), (torch.randn(6, 3),))
    forward, backward = text.split("# backward")
    layers = [line.rsplit(None, 1)[1] for line in forward.splitlines() if "_forward(" in line]
    assert layers == ["0", "1", "2", "loss"]
    assert [line.strip().split()[1] for line in backward.splitlines() if "del " in line] == [
        *("saved3", "saved2", "saved1", "saved0"),
    ]
    assert "[6, 4]  keeps 96 B  1" in forward  # of the relu's output, 6 x 4 numbers
    assert "releases 96 B" in backward


def test_what_cannot_be_recorded_has_no_text() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 3))
    with pytest.raises(OffTapeError, match="addmm"):
        record(model, nn.MSELoss()).text((torch.randn(6, 5),), (torch.randn(6, 3),))


def test_the_command_prints_it(bptrain: Bptrain) -> None:
    result = bptrain("tape", CONFIGS / "digits_cnn.yaml", "data.batch_size=4")
    assert result.exit_code == 0, result.stderr
    assert compile(result.stdout, "step", "exec")
    assert "conv_fused_backward" in result.stdout
    formula = bptrain("tape", CONFIGS / "digits_cnn.yaml", "data.batch_size=4", "kernels=formula")
    assert "conv_backward" in formula.stdout
    assert "fused" not in formula.stdout


def test_the_command_reads_no_other_words(bptrain: Bptrain) -> None:
    assert bptrain("tape", "missing.yaml").exit_code == 2
    assert bptrain("tape", CONFIGS / "digits_mlp.yaml", "model.hiden=[3]").exit_code == 2
    assert not list(Path().iterdir())
