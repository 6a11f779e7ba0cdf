"""Figures of an evaluation: right numbers, valid pictures, nothing that cannot be shown."""

import sys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from bptrain.monitor.console import lines_of
from bptrain.monitor.tensorboard import as_markdown
from bptrain.plots.canvas import png_bytes
from bptrain.problem import Problem
from bptrain.tasks import task_of
from bptrain.tasks.accuracy import MOST_CLASSES
from bptrain.tasks.classification import WORST
from bptrain.tasks.plots import (
    Mistake,
    _shortened_count,
    confusion_plot,
    mistakes_plot,
    scatter_plot,
)
from bptrain.tasks.task import ResultFigure


def figures_of(
    problem: Problem, inputs: Tensor, outputs: Tensor, *targets: Tensor, batch: int = 3
) -> dict[str, ResultFigure]:
    """Return the figures by name, built a batch at a time."""
    builders = task_of(problem).figures(problem)
    for start in range(0, len(outputs), batch):
        rows = slice(start, start + batch)
        for builder in builders:
            builder.add((inputs[rows],), outputs[rows], tuple(each[rows] for each in targets))
    made = [builder.build() for builder in builders]
    return {each.name: each for each in made if each is not None}


def outputs_for(predicted: list[int], classes: int, confidence: float = 4.0) -> Tensor:
    return functional.one_hot(torch.tensor(predicted), classes) * confidence


IMAGES = Problem("classification", (1, 4, 4), 3, names=("cat", "dog", "owl"))


def test_the_confusion_table_counts_each_true_class_in_its_row() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    made = figures_of(IMAGES, torch.randn(6, 1, 4, 4), outputs_for([0, 0, 1, 1, 0, 2], 3), labels)
    assert made["confusion"].rows == [
        ["true \\ predicted", "cat", "dog", "owl"],
        ["cat", "2", "1", "."],
        ["dog", ".", "1", "."],
        ["owl", "1", ".", "1"],
    ]


def test_each_class_has_its_own_scores() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    made = figures_of(IMAGES, torch.randn(6, 1, 4, 4), outputs_for([0, 0, 1, 1, 0, 0], 3), labels)
    assert made["classes"].picture is None
    assert made["classes"].rows == [
        ["class", "precision", "recall", "F1", "samples"],
        ["cat", "0.5000", "0.6667", "0.5714", "3"],
        ["dog", "0.5000", "1.0000", "0.6667", "1"],
        ["owl", "0.0000", "0.0000", "0.0000", "2"],
    ]


def test_steps_without_a_label_are_not_in_the_confusion() -> None:
    problem = Problem("tagging", (2, 5), 2, is_sequence=True)
    outputs = outputs_for([0, 1, 1, 1], 2).view(2, 2, 2)
    labels = torch.tensor([[0, 1], [0, -100]])
    rows = figures_of(problem, torch.zeros(2, 2, 5), outputs, labels)["confusion"].rows
    assert rows[1:] == [["0", "1", "1"], ["1", ".", "1"]]


def test_the_worst_mistakes_come_first_and_right_predictions_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Mistake] = []
    monkeypatch.setattr(
        "bptrain.tasks.classification.mistakes_plot",
        lambda mistakes: drawn.extend(mistakes) or np.zeros((1, 1, 3), np.uint8),
    )
    outputs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 3
    images = torch.arange(200.0).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    figures_of(IMAGES, images, outputs, labels, batch=7)
    losses = functional.cross_entropy(outputs, labels, reduction="none")
    wrong = [n for n in losses.argsort(descending=True).tolist() if outputs[n].argmax() != n % 3]
    assert [int(each.pixels[0, 0, 0]) for each in drawn] == wrong[:WORST]
    assert [each.true for each in drawn] == [IMAGES.names[n % 3] for n in wrong[:WORST]]
    assert drawn[0].loss == pytest.approx(losses[wrong[0]].item())


def test_a_model_without_mistakes_shows_none() -> None:
    made = figures_of(
        IMAGES, torch.randn(3, 1, 4, 4), outputs_for([0, 1, 2], 3), torch.tensor([0, 1, 2])
    )
    assert set(made) == {"confusion", "classes", "reliability"}


@pytest.mark.parametrize(
    "problem",
    [
        Problem("classification", (7,), 3),
        Problem("classification", (2, 4, 4), 3),
        Problem("classification", (3, 4, 4), MOST_CLASSES + 1),
        Problem("classification", (3, 4, 4), 3, is_sequence=True),
        Problem("language_model", (8,), 50, vocabulary=50, is_sequence=True),
    ],
)
def test_what_cannot_be_shown_is_not_drawn(problem: Problem) -> None:
    kinds = {type(builder).__name__ for builder in task_of(problem).figures(problem)}
    assert ("WorstMistakes" in kinds) == (problem.outputs > MOST_CLASSES)
    assert ("ConfusionMatrix" in kinds) == (
        problem.task != "language_model" and problem.outputs == 3
    )


def test_a_regression_is_drawn_and_texts_are_written() -> None:
    regression = Problem("regression", (4,), 2, names=("price",))
    made = figures_of(regression, torch.zeros(9, 4), torch.randn(9, 2), torch.randn(9, 2))
    assert made["predictions"].picture is not None
    assert made["residuals"].picture is not None

    speech = Problem("transcription", (5, 4), 3, names=("", "a", "b"), is_sequence=True)
    decoded = functional.one_hot(torch.tensor([[1, 1, 0, 2, 0]] * 20), 3).float()
    true, frames, lengths = torch.tensor([[1, 2, 2]] * 20), torch.full((20,), 5), torch.tensor([3])
    made = figures_of(speech, torch.zeros(20, 5, 4), decoded, true, frames, lengths.expand(20))
    assert made["transcripts"].rows == [["true", "predicted"], *[["abb", "ab"]] * 10]


@pytest.mark.parametrize("classes", [2, 10, 30, 100])
def test_a_confusion_plot_is_darkest_on_the_diagonal_of_a_good_model(classes: int) -> None:
    picture = confusion_plot(np.eye(classes, dtype=np.int64) * 7, [str(n) for n in range(classes)])
    assert picture.dtype == np.uint8
    assert max(picture.shape) < 1100
    blue = (picture[..., 2].astype(int) - picture[..., 0] > 60).sum()
    red = (picture[..., 0].astype(int) - picture[..., 2] > 60).sum()
    assert blue > 100
    assert red == 0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(4, 4), (1, 300), (300, 200)])
def test_images_of_any_size_and_scale_become_thumbnails(
    channels: int, size: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).normal(5, 100, (channels, *size)).astype(np.float32)
    flat = np.full((channels, *size), 3, np.float32)  # no contrast at all
    mistakes = [
        Mistake(each, "a name that is far too long to fit", "b", 1.5) for each in (pixels, flat)
    ]
    picture = mistakes_plot(mistakes * 4)
    assert picture.shape[2] == 3
    assert max(picture.shape) < 1000
    assert (picture != 255).any()


def test_a_scatter_plot_of_equal_values_is_no_division_by_zero() -> None:
    same = np.full((5, 1), 2.5)
    assert scatter_plot(same, same, ["x"]).shape[2] == 3


def test_points_of_a_perfect_model_lie_on_the_diagonal() -> None:
    values = np.linspace(-3, 9, 50)[:, None]
    picture = scatter_plot(values, values, ["x"]).astype(int)
    y, x = np.nonzero(picture[..., 2] - picture[..., 0] > 60)
    assert np.ptp(x + y) <= 12  # a dot's width around x + y = constant


def test_residuals_are_in_the_targets_unit_over_the_predictions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scattered: list[tuple[np.ndarray, np.ndarray]] = []
    monkeypatch.setattr("bptrain.tasks.plots._scatter", lambda axes, x, y: scattered.append((x, y)))
    asked = Problem("regression", (4,), 1, names=("price",), center=100.0, spread=10.0)
    outputs, targets = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [-1.0]])
    figures_of(asked, torch.zeros(2, 4), outputs, targets)
    (true, predicted), (over, residuals) = ([each.tolist() for each in pair] for pair in scattered)
    assert (true, predicted) == ([110, 90], [100, 120])
    assert (over, residuals) == ([100, 120], [-10, 30])


def test_names_are_drawn_as_they_are_whatever_they_hold() -> None:
    names = [
        "$5",
        "\\frac{",
        "a very long name of a class that does not fit",
        "\u4e09",
        "two\nlines",
    ]
    picture = confusion_plot(np.eye(5, dtype=np.int64), names)
    assert picture.shape[2] == 3
    assert scatter_plot(np.ones((3, 1)), np.zeros((3, 1)), ["$x^"]).shape[2] == 3


def test_large_counts_fit_into_their_cells() -> None:
    matrix = np.diag([9999, 10_000, 2_500_000, 3 * 10**9])
    assert confusion_plot(matrix, list("abcd")).shape[2] == 3
    assert [_shortened_count(n) for n in (0, 9999, 10_000, 2_500_000, 3 * 10**9)] == [
        "0",
        "9999",
        "10k",
        "2M",
        "3G",
    ]


def test_drawing_leaves_no_global_state_behind() -> None:
    confusion_plot(np.eye(2, dtype=np.int64), ["a", "b"])
    assert "matplotlib.pyplot" not in sys.modules


def test_columns_of_numbers_are_right_aligned_and_text_left_aligned() -> None:
    rows = [["a", "n", "word"], ["bb", "10", "x"], ["c", ".", "long one"]]
    assert lines_of(rows) == ["a    n  word", "bb  10  x", "c    .  long one"]


def test_a_png_holds_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (5, 6, 3), np.uint8)
    assert np.array_equal(np.asarray(Image.open(BytesIO(png_bytes(picture)))), picture)


def test_a_table_is_markdown_whatever_its_cells_hold() -> None:
    assert as_markdown([["a", "b|c"], ["1", "\\"]]) == "| a | b\\|c |\n|---|---|\n| 1 | \\\\ |"
