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


@pytest.mark.parametrize("form", ["recorded", "none", "blocks", "sqrt"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_text_run_gives_the_same_gradients(name: str, form: str) -> None:
    torch.manual_seed(0)
    model, loss, inputs, targets = NETWORKS[name]()
    step = record(model, loss, checkpointing="none" if form == "recorded" else form)
    state = torch.get_rng_state()
    text = step.text(inputs, targets, form == "recorded")
    assert torch.equal(torch.get_rng_state(), state)
    batch = [each for each in (*inputs, *targets) if isinstance(each, torch.Tensor)]
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {key: value.clone() for key, value in tensors.items()}
    value, gradients = run(text, tensors, *batch)
    drawn = torch.get_rng_state()
    buffers = {key: each.clone() for key, each in model.named_buffers()}
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
    assert torch.equal(torch.get_rng_state(), drawn)
    for key, buffer in model.named_buffers():
        assert torch.equal(buffers[key], buffer), key


def test_the_text_reads_line_by_line() -> None:
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    step = record(model, nn.MSELoss())
    text = step.text((torch.randn(6, 5),), (torch.randn(6, 3),), as_recorded=True)
    forward, backward = text.split("# backward")
    layers = [line.rsplit(None, 1)[1] for line in forward.splitlines() if "_forward(" in line]
    assert layers == ["0", "1", "2", "loss"]
    assert [line.strip().split()[1] for line in backward.splitlines() if "del " in line] == [
        *("saved3", "saved2", "saved1", "saved0"),
    ]
    assert "[6, 4]  keeps 96 B  1" in forward  # of the relu's output, 6 x 4 numbers
    assert "releases 96 B" in backward


def test_the_text_is_the_step_as_it_runs() -> None:
    model = torch.nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    x, y = torch.randn(2, 1, 8, 8), torch.randn(2, 27)
    text = record(model, nn.MSELoss()).text((x,), (y,))
    # of each winner one byte, and the pooled values: 2 x 3 x 9 of both
    assert "[2, 3, 3, 3]  keeps 270 B  1" in text
    assert text.count("relu_max_pool_fused_forward(") == 1
    assert "relu_forward" not in text


def test_a_step_that_is_recorded_anew_each_time_runs_as_recorded() -> None:
    class Asking(torch.nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = super().forward(x)
            return y if x.sum() < 1e9 else x

    step = record(Asking(nn.Linear(5, 3), nn.ReLU()), nn.MSELoss())
    text = step.text((torch.randn(6, 5),), (torch.randn(6, 3),))
    assert "linear_forward(" in text
    assert "linear_relu" not in text


def test_a_segment_is_computed_again_before_its_backward_pass() -> None:
    model = torch.nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    step = record(model, nn.MSELoss(), checkpointing="blocks")
    text = step.text((torch.randn(6, 5),), (torch.randn(6, 3),))
    forward, backward = text.split("# backward")
    assert "# segment 1 (0), keeps 120 B" in forward  # its input, 6 x 5 numbers
    assert "linear_relu_fused_forward(" in forward
    again = backward.index("linear_relu_fused_forward(")
    assert again < backward.index("linear_relu_fused_backward(")
    assert "keeps 192 B  0" in backward  # what it keeps then: 6 x 8 outputs


def test_what_cannot_be_recorded_has_no_text() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Hardshrink())
    with pytest.raises(OffTapeError, match="hardshrink"):
        record(model, nn.MSELoss()).text((torch.randn(6, 5),), (torch.randn(6, 3),))


def test_the_command_prints_it(bptrain: Bptrain) -> None:
    result = bptrain("tape", CONFIGS / "digits_cnn.yaml", "data.batch_size=4")
    assert result.exit_code == 0, result.stderr
    assert compile(result.stdout, "step", "exec")
    assert "batch_norm_relu_fused_backward" in result.stdout
    words = [CONFIGS / "digits_cnn.yaml", "data.batch_size=4", "train.checkpointing=blocks"]
    segments = bptrain("tape", *words)
    assert "# segment 1 (stage1.block1.conv), again" in segments.stdout
    recorded = bptrain("tape", *words, "--recorded")
    assert "segment" not in recorded.stdout
    assert "batch_norm_relu" not in recorded.stdout
    formula = bptrain("tape", CONFIGS / "digits_cnn.yaml", "data.batch_size=4", "kernels=formula")
    assert "conv_backward" in formula.stdout
    assert "fused" not in formula.stdout


def test_the_command_reads_no_other_words(bptrain: Bptrain) -> None:
    assert bptrain("tape", "missing.yaml").exit_code == 2
    assert bptrain("tape", CONFIGS / "digits_mlp.yaml", "model.hiden=[3]").exit_code == 2
    assert not list(Path().iterdir())
