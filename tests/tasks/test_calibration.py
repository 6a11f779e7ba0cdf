"""Are probabilities right? Brier score and calibration error by scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor

from bptrain.losses.bce_with_logits import BCEWithLogitsConfig
from bptrain.losses.squared_error import MSEConfig
from bptrain.problem import Problem
from bptrain.tasks import task_of
from bptrain.tasks.calibration import Calibration, ReliabilityDiagram
from bptrain.tasks.decision import Decision
from bptrain.tasks.plots import reliability_plot


def values_of(metric: Calibration, outputs: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the metrics over batches of 7."""
    batches = zip(outputs.split(7), labels.split(7), strict=True)
    return metric.values(sum(metric.sums(*batch) for batch in batches).tolist())  # type: ignore[union-attr]


def as_given(probabilities: Tensor) -> Tensor:
    return probabilities


@pytest.mark.parametrize("classes", [2, 5])
def test_the_brier_score_is_that_of_scikit_learn(classes: int) -> None:
    torch.manual_seed(0)
    outputs, labels = torch.randn(50, classes), torch.randint(classes, (50,))
    shares = outputs.double().softmax(1)
    given = shares[:, 1] if classes == 2 else shares
    expected = reference.brier_score_loss(labels, given, labels=range(classes))
    assert values_of(Calibration(classes), outputs, labels)["brier_score"] == pytest.approx(
        expected
    )


def test_the_calibration_error_is_the_weighted_gap_of_confidence_and_accuracy() -> None:
    # two samples at 0.61 (one right), three at 0.9 (all right): bins 10 and 14 of 15
    second = torch.tensor([0.61, 0.61, 0.9, 0.9, 0.9])
    labels = torch.tensor([1, 0, 1, 1, 1])
    metric = Calibration(2, Decision(as_given))
    values = values_of(metric, torch.stack([1 - second, second], 1), labels)
    assert values["ece"] == pytest.approx(2 / 5 * 0.11 + 3 / 5 * 0.1, abs=1e-6)


def test_the_calibration_error_of_random_outputs_is_that_of_its_definition() -> None:
    torch.manual_seed(1)
    outputs, labels = 2 * torch.randn(300, 4), torch.randint(4, (300,))
    confidence, predicted = outputs.double().softmax(1).numpy().max(1), outputs.argmax(1)
    right = (predicted == labels).numpy()
    bins = np.digitize(confidence, np.arange(1, 15) / 15)
    gaps = [
        (bins == each).mean() * abs(right[bins == each].mean() - confidence[bins == each].mean())
        for each in np.unique(bins)
    ]
    assert values_of(Calibration(4), outputs, labels)["ece"] == pytest.approx(sum(gaps))


@pytest.mark.parametrize("loss", [BCEWithLogitsConfig(), MSEConfig()], ids=lambda each: each.kind)
def test_probabilities_are_those_that_the_loss_means(loss: BCEWithLogitsConfig | MSEConfig) -> None:
    outputs, labels = torch.tensor([[2.0, -1.0], [0.25, 0.5]]), torch.tensor([0, 1])
    shares = loss.probabilities(outputs.double())
    true = torch.eye(2, dtype=torch.float64)[labels]
    metric = Calibration(2, Decision(loss.probabilities))
    expected = float((shares - true).square().sum(1).mean()) / 2
    assert values_of(metric, outputs, labels)["brier_score"] == pytest.approx(expected)


def test_certain_and_right_predictions_have_no_error() -> None:
    outputs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    values = values_of(Calibration(2, Decision(as_given)), outputs, torch.tensor([0, 1]))
    assert values == {"brier_score": 0.0, "ece": 0.0}


def test_the_diagram_shows_what_lacks_to_the_diagonal_in_red() -> None:
    def red(share: float) -> int:
        samples, right, sums = ([0.0] * 15 for _ in range(3))
        samples[12], right[12], sums[12] = 100.0, 100 * share, 83.0
        picture = reliability_plot(samples, right, sums, abs(share - 0.83)).astype(int)
        return int((picture[..., 0] - picture[..., 2] > 60).sum())

    assert red(0.83) < red(0.7) < red(0.2)


def test_the_diagram_needs_samples_and_adds_up_over_batches() -> None:
    diagram = ReliabilityDiagram(3)
    assert diagram.build() is None
    outputs, labels = torch.randn(20, 3), torch.randint(3, (20,))
    for rows in (slice(0, 12), slice(12, 20)):
        diagram.add((), outputs[rows], (labels[rows],))
    made = diagram.build()
    assert made is not None
    assert made.picture is not None
    assert diagram.totals is not None
    expected = Calibration(3).sums(outputs, labels)
    assert torch.allclose(diagram.totals, expected)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_outputs_that_are_not_finite_are_no_error_of_a_metric(classes: int, value: float) -> None:
    problem = Problem("classification", (4,), classes)
    metric = task_of(problem).evaluation_metric(problem)
    outputs = torch.zeros(3, classes)
    outputs[1] = value
    metric_values = metric.values(metric.sums(outputs, (torch.tensor([0, 1, 1]),)).tolist())
    assert np.isnan(metric_values["brier_score"])
    assert np.isnan(metric_values["ece"])
