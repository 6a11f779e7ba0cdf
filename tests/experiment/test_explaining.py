"""An explained step: its numbers are autograd's, its chain is the gradient, training continues."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache

import pytest
import torch
from small_files import CONFIGS
from torch import Tensor

from bptrain import nn
from bptrain.config import load_config
from bptrain.errors import UsageError
from bptrain.experiment.build import Experiment, build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.explaining import explain, explanations, sample_of
from bptrain.experiment.plan import Plan, plan
from bptrain.monitor.explanation.explained import ExplainedStep
from bptrain.monitor.explanation.links import Explanation, Link
from bptrain.ops import cat
from bptrain.ops.kernels import use_kernels
from bptrain.train.loop import fit

ROUNDING = 1e-6  # of float32, relative to the largest number
FAR_LESS = 1e-7  # of a finite difference in float64
NETWORKS = {
    "xor_tiny": [],
    "digits_mlp": ["model.hidden=[12]"],
    "digits_sequential": [],
    "digits_cnn": ["model.stages=[{channels: 4}, {channels: 6}]"],
    "adding_gru": ["data.length=6", "model.hidden=5"],
    "copy_lstm": ["data.delay=2", "data.recall=2", "model.hidden=5"],
}


def built(name: str, overrides: Sequence[str] = ()) -> tuple[Plan, Experiment]:
    made = plan(load_config(ExperimentConfig, CONFIGS / f"{name}.yaml", list(overrides)))
    return made, build(made)


def explained(name: str, overrides: Sequence[str] = ()) -> Explanation:
    return explained_once(name, tuple(overrides))


@cache  # several tests read one explanation
def explained_once(name: str, overrides: tuple[str, ...]) -> Explanation:
    made, experiment = built(name, overrides)
    return explain(made, experiment, sample_of(experiment, 0), 0)


def by_layer(explanation: Explanation) -> dict[str, Link]:
    return {link.title: link for link in explanation.links}


def near(ours: Tensor | float | None, right: Tensor | float | None, tolerance: float) -> bool:
    ours, right = (torch.as_tensor(each, dtype=torch.float64) for each in (ours, right))
    return bool((ours - right).abs().max() <= tolerance * max(1e-12, float(right.abs().max())))


def test_every_number_of_the_tiny_network_is_autograds() -> None:
    made, experiment = built("xor_tiny")
    sample = sample_of(experiment, 3)
    explanation = explain(made, experiment, sample, 0)
    links = by_layer(explanation)

    model = deepcopy(experiment.model)
    (x,), (t,) = sample.batch.inputs, sample.batch.targets
    W1, b1, W2, b2 = (each.detach().clone().requires_grad_() for each in model.parameters())
    z = x @ W1.T + b1
    h = torch.tanh(z)
    y = h @ W2.T + b2
    loss = ((y - t) ** 2).mean()
    for each in (z, h, y):
        each.retain_grad()
    loss.backward()

    for title, value in (("linear1", z), ("tanh1", h), ("output", y), ("loss", loss)):
        assert near(links[title].output, value.detach(), ROUNDING)
    for title, value in (("linear1", z), ("tanh1", h), ("output", y)):
        assert near(links[title].upstream, value.grad, ROUNDING)
    updates = {each.name: each for each in explanation.updates}
    for name, parameter in zip(updates, (W1, b1, W2, b2), strict=True):
        assert near(updates[name].gradient, parameter.grad, ROUNDING)
        assert torch.equal(updates[name].before, parameter.detach())
        assert near(updates[name].after, (parameter - 0.2 * parameter.grad).detach(), ROUNDING)
    assert near(explanation.loss, loss.detach(), ROUNDING)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_parts_of_an_output_add_up_to_the_gradient(name: str) -> None:
    explanation = explained(name, NETWORKS[name])
    compared = 0
    for link in explanation.links:
        for each in link.arguments if link.is_whole else ():
            if each.gradient is None:
                continue
            total = sum(part.upstream * part.slopes[each.letter] for part in link.parts)
            assert near(total, each.gradient, 1e-5), (link.title, each.letter)
            compared += 1
    assert compared


@pytest.mark.parametrize("name", NETWORKS)
def test_a_followed_weight_moves_the_loss_by_the_product_of_its_chain(name: str) -> None:
    explanation = explained(name, NETWORKS[name])
    weight = explanation.weight
    assert weight is not None
    gradient = next(each.gradient for each in explanation.updates if each.name == weight.name)
    assert gradient is not None
    assert weight.gradient != 0
    assert near(gradient[weight.at], weight.gradient, 1e-4)  # float32, and perhaps clipped
    assert near(weight.measured, weight.gradient, FAR_LESS)
    assert weight.path[-1].link == explanation.links[-1].number
    for each in weight.path if name != "digits_sequential" else ():  # it has paths side by side
        assert near(each.total, weight.gradient, FAR_LESS), each


def test_the_chain_of_the_tiny_network_is_one_product() -> None:
    weight = explained("xor_tiny").weight
    assert weight is not None
    assert weight.is_one_path
    assert [each.title for each in weight.path] == ["linear1", "tanh1", "output", "loss"]
    for each in weight.path:
        assert near(each.movement * each.gradient, weight.gradient, FAR_LESS)


def test_a_residual_network_splits_the_derivative() -> None:
    explanation = explained("digits_mlp", ["model.hidden=[8, 8]", "model.residual=true"])
    assert explanation.weight is not None
    shares = {each.title: each.total for each in explanation.weight.path}
    assert near(shares["add2"], explanation.weight.gradient, FAR_LESS)
    assert not near(shares["linear2"], explanation.weight.gradient, 1e-3)  # the rest goes around it


def test_a_window_of_a_convolution_is_what_autograd_reads_and_writes() -> None:
    explanation = explained("digits_cnn", NETWORKS["digits_cnn"])
    links = {link.number: link for link in explanation.links}
    assert explanation.windows
    for window in explanation.windows:
        x, W = links[window.link].arguments[:2]
        value, kernel = x.value.clone().requires_grad_(), W.value
        y = torch.nn.functional.conv2d(value, kernel, padding=1)
        y[window.at].backward(torch.tensor(window.upstream))
        assert value.grad is not None
        assert near(window.scatter, value.grad[window.at[0], window.channel], 1e-5)
        assert near(window.value, y[window.at].detach(), 1e-4)
        assert near(float((window.patch * window.kernel).sum()) + window.rest, window.value, 1e-5)
        row, column, height, width = window.corner
        padded = torch.nn.functional.pad(window.plane, (1, 1, 1, 1))
        there = padded[row + 1 : row + 1 + height, column + 1 : column + 1 + width]
        assert torch.equal(there, window.patch)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_time_steps_gradient_is_carried_back_as_autograd_carries_it(cell: str) -> None:
    overrides = ["data.length=5", "model.hidden=3", f"model.cell={cell}"]
    made, experiment = built("adding_rnn", overrides)
    sample = sample_of(experiment, 0)
    explanation = explain(made, experiment, sample, 0)
    (scan,) = explanation.scans
    assert (scan.cell, scan.step) == (cell, 4)

    model = deepcopy(experiment.model)
    (x,), (t,) = sample.batch.inputs, sample.batch.targets
    layer = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](2, 3)
    layer.load_state_dict(getattr(model, cell).state_dict())
    state, states = None, []
    for t_x in x.transpose(0, 1):
        _, state = layer(t_x.unsqueeze(0), state)
        h = state[0] if cell == "lstm" else state
        h.retain_grad()
        states.append(h)
    loss = ((model.output(h[-1]) - t) ** 2).mean()
    loss.backward()
    for carried, complete, h in zip(scan.carried, scan.complete, states, strict=True):
        assert near(carried, h.grad[0, 0], 1e-5)
        assert near(complete, h.grad[0, 0], 1e-5)


def test_an_explained_step_leaves_training_as_it_was() -> None:
    made, with_pauses = built("digits_cnn", NETWORKS["digits_cnn"])
    sample = sample_of(with_pauses, 0)
    steps = [explanation.step for explanation in explanations(made, with_pauses, sample, [0, 1, 3])]
    assert steps == [0, 1, 3]
    _, without = built("digits_cnn", NETWORKS["digits_cnn"])
    for _ in fit(without.engine, without.batches, without.update, 3):
        pass
    ours, theirs = with_pauses.model.state_dict(), without.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_batch_normalization_gets_the_neighbors_of_a_sample() -> None:
    _, experiment = built("digits_mlp", ["model.hidden=[8]", "model.normalization=batch"])
    sample = sample_of(experiment, 11)
    assert (len(sample.batch.inputs[0]), sample.row) == (8, 3)
    alone = sample_of(built("digits_mlp", ["model.hidden=[8]"])[1], 11)
    assert torch.equal(sample.batch.inputs[0][3], alone.batch.inputs[0][0])


def test_a_value_of_the_sample_is_called_so_however_it_was_rearranged() -> None:
    explanation = explained("adding_gru", NETWORKS["adding_gru"])
    scan = next(link for link in explanation.links if link.operation == "bptt")
    names = {each.letter: each.name for each in scan.arguments}
    assert names["x"] == "the sample"  # transposed
    assert names["W_ih"] == "gru.weight_ih_l0"
    assert names["h_0"] == "a constant"


def test_a_search_is_explained_by_its_first_evaluation() -> None:
    explanation = explained("digits_lbfgs", ["model.hidden=[8]"])
    changed = [not torch.equal(each.before, each.after) for each in explanation.updates]
    assert all(changed)
    assert near(float(by_layer(explanation)["loss"].output), explanation.loss, ROUNDING)


@pytest.mark.parametrize("sample", [90, 10**9])
def test_a_sample_that_does_not_exist_is_refused(sample: int) -> None:
    with pytest.raises(UsageError, match="there is no training sample") as caught:
        sample_of(built("xor_tiny")[1], sample)
    assert "from 0 to 89" in str(caught.value)


def test_parts_of_one_output_are_not_all_where_the_loss_reads_two() -> None:
    class LastAndAll(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            y, h = self.rnn(x)
            return cat([y.flatten(), h.flatten()], 0)

    step = ExplainedStep(LastAndAll(), nn.MSELoss())
    with use_kernels("formula"):
        run = step.begin((torch.randn(2, 1, 2),), (torch.zeros(3),))
    run.forward()
    run.loss()
    run.backward(lambda loss: loss)
    assert step.passes is not None
    scan = next(link for link in step.passes.links if link.operation == "bptt")
    assert len(scan.parts) == scan.output.numel() == 2
    assert not scan.is_whole
