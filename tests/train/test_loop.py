"""The four steps, on toys small enough to follow by hand."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

import bptrain.nn
from bptrain.data.batches import Batch
from bptrain.tape import record
from bptrain.tape.layer_gradients import LayerGradients
from bptrain.tasks.accuracy import Accuracy
from bptrain.tasks.task import IGNORED
from bptrain.train.evaluate import StepWindow, evaluate
from bptrain.train.loop import Position, fit
from bptrain.train.precision import Precision
from bptrain.train.update import Update


class Toy:
    """Two batches an epoch: inputs 1 and 2, target 0."""

    def __len__(self) -> int:
        return 2

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for value in (1.0, 2.0)[start:]:
            yield Batch((torch.full((1, 1), value),), (torch.zeros(1, 1),), 1)


def plain_update(
    model: nn.Module, schedule: Callable[[int], float] = lambda step: 1.0, **options: Any
) -> Update:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    precision = Precision.of("fp32", torch.device("cpu"))
    return Update(optimizer, schedule, LayerGradients(model), precision, **options)


def scalar_model(weight: float) -> nn.Module:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, weight)
    return model


def test_each_step_is_the_chain_rule_and_a_step_downhill() -> None:
    model = scalar_model(1.0)
    factors = [1.0, 0.5, 0.25]
    weight = 1.0
    reports = fit(
        record(model, nn.MSELoss()), Toy(), plain_update(model, factors.__getitem__), total_steps=3
    )
    for step, report in enumerate(reports):
        x = (1.0, 2.0)[step % 2]
        assert report.loss.item() == pytest.approx((weight * x) ** 2)
        assert report.change.lr == pytest.approx(0.1 * factors[step])
        assert model.weight.grad.item() == pytest.approx(2 * weight * x * x)
        weight -= report.change.lr * 2 * weight * x * x
        assert model.weight.item() == pytest.approx(weight)
        assert report.position == (step + 1, step // 2, step % 2 + 1)
    assert step == 2


def test_nothing_happens_before_a_report_is_asked_for() -> None:
    model = scalar_model(1.0)
    reports = fit(record(model, nn.MSELoss()), Toy(), plain_update(model), total_steps=2)
    assert model.weight.item() == 1
    next(reports)
    after_one = model.weight.item()
    assert after_one == pytest.approx(0.8)
    assert next(reports).position.step == 2
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
    measured = evaluate(
        model,
        nn.CrossEntropyLoss(),
        Accuracy(),
        batches,
        Precision.of("fp32", torch.device("cpu")),
    )
    right, wrong = 0.04859, 3.04859  # log(1 + e^-3), log(1 + e^3)
    assert measured["accuracy"] == 0.75
    assert measured["loss"] == pytest.approx((3 * right + wrong) / 4, abs=1e-4)
    assert model.training
    assert model[0].weight.grad is None


class Tags:
    """Batches of one sequence of two steps; the targets of all but the last are ignored."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for number in range(start, self.count):
            counts = number == self.count - 1
            targets = torch.tensor([0, 1] if counts else [IGNORED, IGNORED])
            yield Batch((torch.eye(2),), (targets,), 2 * counts)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), bptrain.nn.CrossEntropyLoss()])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.LBFGS])
def test_a_batch_of_ignored_targets_counts_0_in_training(
    loss: nn.Module, optimizer: type[torch.optim.Optimizer]
) -> None:
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    update = plain_update(model, searches=optimizer is torch.optim.LBFGS)
    update.optimizer = optimizer(model.parameters(), lr=0.1)
    first, second = fit(record(model, loss), Tags(2), update, total_steps=2)
    assert (first.loss, first.change.norms[0]) == (0, 0)
    assert second.loss > 0
    assert model.weight.isfinite().all()
    assert not model.weight.equal(before)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), bptrain.nn.CrossEntropyLoss()])
def test_a_batch_of_ignored_targets_counts_0_in_accumulation(loss: nn.Module) -> None:
    model = nn.Linear(2, 2)
    reports = [
        next(
            iter(
                fit(
                    record(deepcopy(model), loss),
                    Tags(count),
                    plain_update(model, batches=count),
                    1,
                )
            )
        )
        for count in (3, 1)
    ]
    assert reports[0].loss == reports[1].loss > 0
    assert reports[0].change.norms.equal(reports[1].change.norms)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), bptrain.nn.CrossEntropyLoss()])
def test_a_batch_of_ignored_targets_counts_0_in_evaluation(loss: nn.Module) -> None:
    model, precision = nn.Linear(2, 2), Precision.of("fp32", torch.device("cpu"))
    every, last = (
        evaluate(model, loss, Accuracy(), Tags(count).epoch(0), precision) for count in (3, 1)
    )
    assert every == last
    assert every["loss"] > 0
    ignored = list(Tags(3).epoch(0))[:2]
    assert evaluate(model, loss, Accuracy(), ignored, precision) == {"loss": 0, "accuracy": 0}


def test_a_window_gives_each_loss_and_the_means() -> None:
    model = scalar_model(1.0)
    window, losses, norms = StepWindow(Accuracy()), [], []
    for report in fit(record(model, nn.MSELoss()), Toy(), plain_update(model), total_steps=4):
        window.add(report)
        losses.append(report.loss.item())
        norms.append(model.weight.grad.abs().item())
    read = window.read()
    assert read.losses == losses
    assert read.norms == [pytest.approx([norm, norm]) for norm in norms]  # the total, the layer's
    assert read.clipped == read.norms[-1]
    assert read.means["train/loss"] == pytest.approx(sum(losses) / 4)
    assert read.means["train/accuracy"] == 1.0  # one output: its argmax is class 0
    assert read.means["perf/samples_per_s"] > 0
    window.restart()
    assert window.state() == {}


def test_a_window_that_was_saved_and_restored_reads_the_same() -> None:
    model = scalar_model(1.0)
    whole, first, second = (StepWindow(Accuracy()) for _ in range(3))
    for report in fit(record(model, nn.MSELoss()), Toy(), plain_update(model), total_steps=5):
        whole.add(report)
        if report.position.step == 3:
            second.restore(first.state())
        (first if report.position.step < 3 else second).add(report)
    assert second.read().losses == whole.read().losses
    assert second.read().norms == whole.read().norms
    tags = ("train/loss", "train/accuracy")
    assert [second.read().means[t] for t in tags] == [whole.read().means[t] for t in tags]


def test_a_run_resumes_from_the_middle_of_an_epoch_and_from_its_end() -> None:
    whole = scalar_model(1.0)
    steps = fit(record(whole, nn.MSELoss()), Toy(), plain_update(whole), total_steps=5)
    states = [(report.position, whole.weight.item()) for report in steps]
    for position, weight in states:
        model = scalar_model(weight)
        reports = fit(record(model, nn.MSELoss()), Toy(), plain_update(model), 5, position)
        assert [r.position for r in reports] == [p for p, _ in states if p.step > position.step]
        assert model.weight.item() == whole.weight.item()


def test_gradients_of_several_batches_make_one_step() -> None:
    model = scalar_model(1.0)
    update = plain_update(model, batches=2)
    (report,) = fit(record(model, nn.MSELoss()), Toy(), update, total_steps=1)
    assert report.position == Position(step=1, epoch=0, batch=2)
    assert report.loss.item() == pytest.approx((1 + 4) / 2)
    assert report.change.norms[0].item() == pytest.approx((2 * 1 + 2 * 4) / 2)
    assert len(report.passes) == 2


def test_a_line_search_evaluates_the_loss_at_other_weights() -> None:
    model = scalar_model(1.0)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=10, line_search_fn="strong_wolfe")
    precision = Precision.of("fp32", torch.device("cpu"))
    gradients = LayerGradients(model)
    update = Update(optimizer, lambda step: 1.0, gradients, precision, searches=True)
    (report,) = fit(record(model, nn.MSELoss()), Toy(), update, total_steps=1)
    assert report.loss.item() == 1.0  # before the search
    assert model.weight.item() == pytest.approx(0, abs=1e-6)
