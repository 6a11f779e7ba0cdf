"""The metrics of each task, against scikit-learn and by hand, added up over uneven batches."""

import random
from math import exp, log

import pytest
import torch
from sklearn import metrics as reference
from small_files import CONFIGS
from torch import Tensor
from torch.nn import functional

from bptrain.monitor.console import METRIC_FORMATS
from bptrain.problem import Problem, TaskName
from bptrain.tasks import TASKS, task_of
from bptrain.tasks.classification import ClassificationMetric
from bptrain.tasks.decision import Decision
from bptrain.tasks.edit_distance import decode, edit_distances, words_of
from bptrain.tasks.task import Metric


def training_metric(problem: Problem) -> Metric:
    return task_of(problem).training_metric(problem)


def evaluation_metric(problem: Problem) -> Metric:
    return task_of(problem).evaluation_metric(problem)


def problem(task: TaskName, outputs: int, names: tuple[str, ...] = ()) -> Problem:
    return Problem(task, (4,), outputs, names=names)


def metrics_of(metric: Metric, outputs: Tensor, *targets: Tensor) -> dict[str, float]:
    """Return the metrics over batches of 1, 2, 4, ... samples."""
    total, start, size = torch.zeros(1, dtype=torch.float64), 0, 1
    while start < len(outputs):
        rows = slice(start, start + size)
        total = total + metric.sums(outputs[rows], tuple(each[rows] for each in targets))
        start, size = start + size, 2 * size
    assert total.dtype == torch.float64
    values = metric.values(total.tolist())
    assert tuple(values) == metric.names
    return values


@pytest.mark.parametrize("classes", [2, 7])
def test_classes_have_the_metrics_of_scikit_learn(classes: int) -> None:
    torch.manual_seed(0)
    outputs, labels = torch.randn(50, classes), torch.randint(classes, (50,))
    labels[labels == 1] = 0  # a class that is predicted but never true
    predicted = outputs.argmax(1)
    values = metrics_of(evaluation_metric(problem("classification", classes)), outputs, labels)
    assert values["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    f1 = reference.f1_score(labels, predicted, average="macro", zero_division=0)
    assert values["macro_f1"] == pytest.approx(f1)
    precision = reference.precision_score(labels, predicted, average="macro", zero_division=0)
    assert values["macro_precision"] == pytest.approx(precision)
    recalls = reference.recall_score(labels, predicted, labels=labels.unique(), average=None)
    assert values["balanced_accuracy"] == pytest.approx(recalls.mean())
    assert ("roc_auc" in values) == (classes == 2) != ("macro_roc_auc" in values)
    assert ("top5" in values) == (classes > 5)
    if classes > 5:
        top = reference.top_k_accuracy_score(labels, outputs, k=5, labels=range(classes))
        assert values["top5"] == pytest.approx(top)


def test_a_class_that_never_occurs_does_not_count_in_macro_f1() -> None:
    outputs = functional.one_hot(torch.tensor([0, 2, 2])).float()
    values = metrics_of(evaluation_metric(problem("classification", 3)), outputs, outputs.argmax(1))
    averages = [value for name, value in values.items() if name not in ("brier_score", "ece")]
    assert set(averages) == {1.0}


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_scores_rank_two_classes_as_in_scikit_learn(scale: float) -> None:
    torch.manual_seed(0)
    labels = (torch.rand(300) < 0.2).long()
    scores = (torch.randn(300) + labels) * scale
    scores[:20] = scores[20:40]  # ties
    bins = (scores * 64).floor().clamp(-2048, 2047)
    assert len(bins.unique()) > 50
    outputs = torch.stack([torch.full_like(scores, 3.0), scores + 3], 1)
    values = metrics_of(evaluation_metric(problem("classification", 2)), outputs, labels)
    # to float32's rounding of scores + 3, which moves a few of them into the next bin
    auc, precision = (
        score(labels, bins)
        for score in (reference.roc_auc_score, reference.average_precision_score)
    )
    assert values["roc_auc"] == pytest.approx(auc, abs=1e-4)
    assert values["average_precision"] == pytest.approx(precision, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_each_class_is_ranked_against_the_others_as_in_scikit_learn(seed: int) -> None:
    torch.manual_seed(seed)
    scores = torch.randint(-40, 40, (80, 4)) / 16 + 1 / 64  # the centers of bins, with many ties
    labels = torch.randint(4, (80,))
    labels[labels == 3] = 0  # a class without samples has no area
    metric = ClassificationMetric(4, Decision(torch.sigmoid))
    values = metrics_of(metric, scores, labels)
    areas = [reference.roc_auc_score(labels == each, scores[:, each]) for each in range(3)]
    assert values["macro_roc_auc"] == pytest.approx(sum(areas) / 3, abs=1e-12)


def test_softmax_is_ranked_by_the_odds_of_each_class() -> None:
    torch.manual_seed(0)
    outputs, labels = 3 * torch.randn(400, 3), torch.randint(3, (400,))
    values = metrics_of(evaluation_metric(problem("classification", 3)), outputs, labels)
    area = reference.roc_auc_score(labels, outputs.double().softmax(1), multi_class="ovr")
    assert values["macro_roc_auc"] == pytest.approx(area, abs=1e-3)  # bins tie some samples


def test_one_class_alone_and_very_many_classes_have_no_ranking() -> None:
    for classes, is_ranked in ((1, False), (3, True), (100, True), (101, False)):
        names = evaluation_metric(problem("classification", classes)).names
        assert ("macro_roc_auc" in names) == is_ranked
    metric = evaluation_metric(problem("classification", 3))
    values = metrics_of(metric, torch.randn(4, 3), torch.zeros(4, dtype=torch.long))
    assert values["macro_roc_auc"] == 0.5


def test_a_constant_score_ranks_nothing() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    metric = evaluation_metric(problem("classification", 2))
    values = metrics_of(metric, torch.zeros(4, 2), labels)
    assert (values["roc_auc"], values["average_precision"]) == (0.5, 0.25)
    assert values["balanced_accuracy"] == 0.5
    one_class = metrics_of(metric, torch.randn(4, 2), torch.zeros(4, dtype=torch.long))
    assert (one_class["roc_auc"], one_class["average_precision"]) == (0.5, 0.0)


def test_of_mixed_samples_the_most_likely_class_is_the_true_one() -> None:
    outputs = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    mixed = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.6, 0.4]])
    values = metrics_of(training_metric(problem("classification", 3)), outputs, mixed)
    assert values == {"accuracy": 0.5}


def test_numbers_have_the_metrics_of_scikit_learn() -> None:
    torch.manual_seed(0)
    targets = torch.randn(40, 3) * torch.tensor([1, 10, 0.1]) + torch.tensor([0, 1000, 5])
    outputs = targets + torch.randn(40, 3) * 0.3
    values = metrics_of(evaluation_metric(problem("regression", 3)), outputs, targets)
    true, predicted = targets.double(), outputs.double()
    assert values["mae"] == pytest.approx(reference.mean_absolute_error(true, predicted))
    assert values["rmse"] == pytest.approx(reference.mean_squared_error(true, predicted) ** 0.5)
    assert values["r2"] == pytest.approx(reference.r2_score(true, predicted), rel=1e-6)
    cheap = metrics_of(training_metric(problem("regression", 3)), outputs, targets)
    assert cheap["mae"] == pytest.approx(values["mae"], rel=1e-5)


@pytest.mark.parametrize(("predicted", "r2"), [(0.1, 1.0), (0.2, 0.0)])
def test_a_constant_target_has_no_infinite_r2(predicted: float, r2: float) -> None:
    targets = torch.full((5, 1), 0.1)
    outputs = torch.full((5, 1), predicted)
    assert metrics_of(evaluation_metric(problem("regression", 1)), outputs, targets)["r2"] == r2


def test_steps_without_a_label_do_not_count() -> None:
    outputs = functional.one_hot(torch.tensor([[0, 1, 1], [2, 0, 0]]), 3).float()
    labels = torch.tensor([[0, 1, 0], [2, -100, -100]])
    for metric in (training_metric, evaluation_metric):
        assert metrics_of(metric(problem("tagging", 3)), outputs, labels) == {"accuracy": 0.75}
    nothing = torch.full((2, 3), -100)
    assert metrics_of(training_metric(problem("tagging", 3)), outputs, nothing) == {"accuracy": 0.0}


def test_perplexity_is_the_number_of_equally_likely_tokens() -> None:
    tokens = torch.tensor([[0, 3, 1], [2, 2, -100]])
    values = metrics_of(
        evaluation_metric(problem("language_model", 4)), torch.zeros(2, 3, 4), tokens
    )
    assert values["perplexity"] == pytest.approx(4)
    assert values["bits_per_character"] == pytest.approx(2)


def test_perplexity_is_that_of_the_likelihood() -> None:
    torch.manual_seed(0)
    logits, tokens = torch.randn(4, 5, 6), torch.randint(6, (4, 5))
    nats = functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).item()
    values = metrics_of(evaluation_metric(problem("language_model", 6)), logits, tokens)
    assert values["perplexity"] == pytest.approx(exp(nats), rel=1e-5)
    assert values["bits_per_character"] == pytest.approx(nats / log(2), rel=1e-5)
    cheap = metrics_of(training_metric(problem("language_model", 6)), logits, tokens)
    assert cheap == {"perplexity": values["perplexity"]}


def test_logits_of_a_hopeless_model_have_a_finite_perplexity() -> None:
    logits = torch.tensor([[[1e5, 0.0]]])
    values = metrics_of(
        evaluation_metric(problem("language_model", 2)), logits, torch.tensor([[1]])
    )
    assert 1e300 < values["perplexity"] < float("inf")


def distance(one: list[int], other: list[int]) -> int:
    """Return the edit distance, as the textbook computes it."""
    row = list(range(len(other) + 1))
    for i, symbol in enumerate(one, start=1):
        above, row = row, [i]
        for j, each in enumerate(other, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (symbol != each)))
    return row[-1]


def padded(texts: list[list[int]]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, texts))
    rows = [[*text, *[7] * (longest - len(text))] for text in texts]
    return torch.tensor(rows), torch.tensor([len(text) for text in texts])


def words(text: list[int], space: int) -> list[str]:
    return "".join(" " if symbol == space else str(symbol) for symbol in text).split()


def test_edit_distances_are_the_textbooks_in_symbols_and_texts() -> None:
    random.seed(0)
    ones, others = (
        [[random.randint(1, 4) for _ in range(random.randint(0, most))] for _ in range(200)]
        for most in (9, 14)
    )
    first, second = padded(ones), padded(others)
    expected = [distance(a, b) for a, b in zip(ones, others, strict=True)]
    assert edit_distances(*first, *second).tolist() == expected

    as_words = [words_of(*texts, 1) for texts in (first, second)]
    assert as_words[0][1].tolist() == [len(words(text, 1)) for text in ones]
    expected = [
        distance(words(a, 1), words(b, 1))  # type: ignore[arg-type]
        for a, b in zip(ones, others, strict=True)
    ]
    assert edit_distances(*as_words[0], *as_words[1]).tolist() == expected


def frames(best: list[list[int]], symbols: int) -> Tensor:
    return functional.one_hot(torch.tensor(best), symbols).float()


def test_repeats_merge_unless_a_blank_is_between_and_frames_behind_the_end_do_not_count() -> None:
    outputs = frames([[1, 1, 0, 1, 2, 2], [0, 3, 3, 1, 1, 1], [0, 0, 0, 0, 0, 0]], 4)
    symbols, lengths = decode(outputs, torch.tensor([6, 3, 6]))
    assert lengths.tolist() == [3, 1, 0]
    assert symbols[0].tolist()[:3] == [1, 1, 2]
    assert symbols[1].tolist()[:1] == [3]


def test_error_rates_are_edits_over_the_true_text() -> None:
    names = ("", "a", "b", " ")
    outputs = frames([[1, 3, 2, 2, 0], [2, 1, 0, 1, 1]], 4)  # "a b" and "baa"
    predicted = torch.tensor([[1, 3, 1, 0], [2, 1, 1, 2]])  # "a a" and "baab"
    targets = (predicted, torch.tensor([5, 5]), torch.tensor([3, 4]))
    metric = evaluation_metric(problem("transcription", 4, names))
    values = metrics_of(metric, outputs, *targets)
    assert values["character_error_rate"] == pytest.approx(2 / 7)
    assert values["word_error_rate"] == pytest.approx(2 / 3)
    without_space = evaluation_metric(problem("transcription", 4))
    assert metrics_of(without_space, outputs, *targets)["word_error_rate"] == 1
    assert metrics_of(training_metric(problem("transcription", 4)), outputs, *targets) == {}


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_is_documented_and_has_a_format_on_the_terminal(task: TaskName) -> None:
    rows = (CONFIGS.parent / "docs" / "tensorboard.md").read_text()
    asked = problem(task, 10)
    for name in training_metric(asked).names:
        assert f"`train/{name}`" in rows
    for name in evaluation_metric(asked).names:
        assert f"`val/{name}`" in rows
        assert f"`test/{name}`" in rows
        assert name in METRIC_FORMATS
