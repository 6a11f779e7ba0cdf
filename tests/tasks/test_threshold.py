"""The threshold of two classes: the best one of all, and what is decided by it."""

import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor

from bptrain.problem import Problem
from bptrain.tasks.class_ranking import LIMIT, OF_TWO
from bptrain.tasks.classification import CLASSIFICATION, ClassificationMetric
from bptrain.tasks.decision import BY_SOFTMAX, Decision, Maximized

CASES = [("balanced_accuracy", seed) for seed in range(3)] + [("f1", seed) for seed in range(3)]


def score(name: Maximized, labels: Tensor, predicted: Tensor) -> float:
    found: float = (
        reference.f1_score(labels, predicted, zero_division=0)
        if name == "f1"
        else reference.balanced_accuracy_score(labels, predicted)
    )
    return found


def outputs_for(odds: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(odds), odds], 1)


def values_of(decision: Decision, outputs: Tensor, labels: Tensor) -> dict[str, float]:
    metric = ClassificationMetric(2, decision)
    return metric.values(metric.sums(outputs, (labels,)).tolist())


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_no_other_threshold_is_better(name: Maximized, seed: int) -> None:
    torch.manual_seed(seed)
    labels = (torch.rand(60) < 0.15).long()
    labels[0] = 1
    odds = torch.randint(-30, 20, (60,)) / 8 + 1.5 * labels - 2 + 1 / 128  # with ties
    chosen = values_of(Decision(maximizes=name), outputs_for(odds), labels)
    shares = outputs_for(odds).double().softmax(1)[:, 1]
    every = [score(name, labels, shares >= threshold) for threshold in shares]
    at_chosen = (shares >= chosen["threshold"]).long()
    assert score(name, labels, at_chosen) == pytest.approx(max(every))
    assert chosen["accuracy"] == pytest.approx(reference.accuracy_score(labels, at_chosen))
    macro = reference.f1_score(labels, at_chosen, average="macro", zero_division=0)
    assert chosen["macro_f1"] == pytest.approx(macro)

    # the threshold decides alike where it is given
    given = values_of(Decision(threshold=chosen["threshold"]), outputs_for(odds), labels)
    assert given == {key: value for key, value in chosen.items() if key != "threshold"}


@pytest.mark.parametrize("name", ["balanced_accuracy", "f1"])
def test_of_equally_good_thresholds_the_nearest_to_one_half_is_chosen(name: Maximized) -> None:
    labels = torch.tensor([0, 0, 1, 1])
    apart = values_of(Decision(maximizes=name), outputs_for(torch.tensor([-3, -2, 2, 3.0])), labels)
    assert apart["threshold"] == 0.5
    high = values_of(Decision(maximizes=name), outputs_for(torch.tensor([1, 2.02, 3, 4])), labels)
    odds = torch.tensor(high["threshold"], dtype=torch.float64).logit()
    assert odds == pytest.approx(2 + 1 / 32)  # the end of the bin of the second sample
    assert high["accuracy"] == 1


def test_odds_beyond_all_bins_are_decided_as_they_were_counted() -> None:
    odds = torch.tensor([-90.0, -70.0, 70.0])  # the first is right only if all are of the class
    values = values_of(Decision(maximizes="f1"), outputs_for(odds), torch.tensor([1, 1, 1]))
    assert values["accuracy"] == 1
    decided = Decision(threshold=values["threshold"]).classes(outputs_for(odds))
    assert decided.tolist() == [1, 1, 1]
    assert OF_TWO.edges[0] == -LIMIT


def test_a_sample_at_the_threshold_is_of_the_second_class() -> None:
    outputs = outputs_for(torch.tensor([0.0, -0.01]))
    assert Decision(threshold=0.5).classes(outputs).tolist() == [1, 0]


def test_predictions_and_words_and_the_confusion_matrix_are_by_the_threshold() -> None:
    asked = Problem("classification", (3,), 2, names=("no", "yes"))
    outputs, labels = outputs_for(torch.tensor([-1.0, -3.0])), torch.tensor([1, 0])
    decision = Decision(threshold=0.2)
    assert CLASSIFICATION.predictions is not None
    rows = list(CLASSIFICATION.predictions(outputs, labels, asked, decision))
    assert [row["class"] for row in rows] == ["yes", "no"]
    assert rows[0]["probability"] == pytest.approx(0.268941, abs=1e-6)
    assert [each["class"] for each in rows[0]["top"]] == ["yes", "no"]
    classes = [
        each.predicted for each in CLASSIFICATION.describe(outputs, (labels,), asked, decision)
    ]
    assert classes == ["yes (26.9%)", "no (95.3%)"]
    for chosen, counts in ((decision, ["yes", ".", "1"]), (BY_SOFTMAX, ["yes", "1", "."])):
        builders = CLASSIFICATION.figures(asked, chosen)
        for builder in builders:
            builder.add((outputs,), outputs, (labels,))
        made = {each.name: each for builder in builders if (each := builder.build())}
        assert made["confusion"].rows[2] == counts
        assert made["classes"].rows[2][2] == ("1.0000" if counts[2] == "1" else "0.0000")
