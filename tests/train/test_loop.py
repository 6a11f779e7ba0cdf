"""The four steps, on toys small enough to follow by hand."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from bptrain.data.batches import Batch
from bptrain.monitor.metrics import Accuracy
from bptrain.train.evaluate import StepWindow, evaluate
from bptrain.train.loop import fit


class Toy:
    """Two batches an epoch: inputs 1 and 2, target 0."""

    def __len__(self) -> int:
        return 2

    def epoch(self, epoch: int) -> Iterator[Batch]:
        for value in (1.0, 2.0):
            yield Batch((torch.full((1, 1), value),), (torch.zeros(1, 1),), 1)


def scalar_model(weight: float) -> nn.Module:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, weight)
    return model


def test_each_step_is_the_chain_rule_and_a_step_downhill() -> None:
    model = scalar_model(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    factors = [1.0, 0.5, 0.25]
    weight = 1.0
    reports = fit(model, nn.MSELoss(), optimizer, factors.__getitem__, Toy(), total_steps=3)
    for step, report in enumerate(reports):
        x = (1.0, 2.0)[step % 2]
        assert report.loss.item() == pytest.approx((weight * x) ** 2)
        assert report.lr == pytest.approx(0.1 * factors[step])
        assert model.weight.grad.item() == pytest.approx(2 * weight * x * x)
        weight -= report.lr * 2 * weight * x * x
        assert model.weight.item() == pytest.approx(weight)
        assert (report.step, report.epoch, report.ends_epoch) == (
            step + 1,
            step // 2,
            step % 2 == 1,
        )
    assert step == 2


def test_nothing_happens_before_a_report_is_asked_for() -> None:
    model = scalar_model(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    reports = fit(model, nn.MSELoss(), optimizer, lambda step: 1.0, Toy(), total_steps=2)
    assert model.weight.item() == 1
    next(reports)
    after_one = model.weight.item()
    assert after_one == pytest.approx(0.8)
    assert next(reports).step == 2
    assert next(reports, None) is None


def test_evaluation_weighs_batches_by_their_size_and_leaves_the_mode() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(0.9))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    model.train()
    batches = [
        Batch((torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.0, 3.0]]),), (torch.tensor([0, 0, 1]),), 3),
        Batch((torch.tensor([[3.0, 0.0]]),), (torch.tensor([0]),), 1),
    ]
    measured = evaluate(model, nn.CrossEntropyLoss(), Accuracy(), batches)
    right, wrong = 0.04859, 3.04859  # log(1 + e^-3), log(1 + e^3)
    assert measured["accuracy"] == 0.75
    assert measured["loss"] == pytest.approx((3 * right + wrong) / 4, abs=1e-4)
    assert model.training
    assert model[0].weight.grad is None


def test_a_window_gives_each_loss_and_the_means() -> None:
    model = scalar_model(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    window, losses = StepWindow(Accuracy()), []
    for report in fit(model, nn.MSELoss(), optimizer, lambda step: 1.0, Toy(), total_steps=4):
        window.add(report)
        losses.append(report.loss.item())
    read, figures, rest = window.read(torch.tensor([7.0, 8.0]))
    assert read == losses
    assert rest == [7, 8]
    assert figures["train/loss"] == pytest.approx(sum(losses) / 4)
    assert figures["train/accuracy"] == 1.0  # one output: its argmax is class 0
    assert figures["perf/samples_per_s"] > 0
    window.restart()
    assert (window.losses, window.sums, window.samples) == ([], [], 0)
