"""What is shown of a model's answers: right numbers, sound pictures, nothing without need."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from bptrain.monitor.console import lines_of
from bptrain.monitor.tensorboard import as_markdown
from bptrain.problem import Problem
from bptrain.tasks.exhibits import MOST_CLASSES, WORST, Shown, exhibits_of
from bptrain.tasks.pictures import (
    PAPER,
    Mistake,
    confusion_picture,
    cut,
    mistakes_picture,
    png_bytes,
    scatter_picture,
    short,
    ticks,
    width,
)


def shown(
    problem: Problem, inputs: Tensor, outputs: Tensor, *targets: Tensor, batch: int = 3
) -> dict[str, Shown]:
    """Return what is shown of the answers, by name, taken in a batch at a time."""
    exhibits = exhibits_of(problem)
    for start in range(0, len(outputs), batch):
        rows = slice(start, start + batch)
        for exhibit in exhibits:
            exhibit.add((inputs[rows],), outputs[rows], tuple(each[rows] for each in targets))
    made = [exhibit.show() for exhibit in exhibits]
    return {each.name: each for each in made if each is not None}


def answers(said: list[int], classes: int, certainty: float = 4.0) -> Tensor:
    return functional.one_hot(torch.tensor(said), classes) * certainty


IMAGES = Problem("classification", (1, 4, 4), 3, names=("cat", "dog", "owl"))


def test_the_confusion_table_counts_each_true_class_in_its_row() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    made = shown(IMAGES, torch.randn(6, 1, 4, 4), answers([0, 0, 1, 1, 0, 2], 3), labels)
    assert made["confusion"].rows == [
        ["true \\ predicted", "cat", "dog", "owl"],
        ["cat", "2", "1", "."],
        ["dog", ".", "1", "."],
        ["owl", "1", ".", "1"],
    ]


def test_steps_without_a_label_are_not_in_the_confusion() -> None:
    problem = Problem("tagging", (2, 5), 2, is_sequence=True)
    outputs = answers([0, 1, 1, 1], 2).view(2, 2, 2)
    labels = torch.tensor([[0, 1], [0, -100]])
    rows = shown(problem, torch.zeros(2, 2, 5), outputs, labels)["confusion"].rows
    assert rows[1:] == [["0", "1", "1"], ["1", ".", "1"]]


def test_the_worst_mistakes_come_first_and_right_answers_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Mistake] = []
    monkeypatch.setattr(
        "bptrain.tasks.exhibits.mistakes_picture",
        lambda mistakes: drawn.extend(mistakes) or np.zeros((1, 1, 3), np.uint8),
    )
    outputs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 3
    images = torch.arange(200.0).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    shown(IMAGES, images, outputs, labels, batch=7)
    losses = functional.cross_entropy(outputs, labels, reduction="none")
    wrong = [n for n in losses.argsort(descending=True).tolist() if outputs[n].argmax() != n % 3]
    assert [int(each.pixels[0, 0, 0]) for each in drawn] == wrong[:WORST]
    assert [each.true for each in drawn] == [IMAGES.names[n % 3] for n in wrong[:WORST]]
    assert drawn[0].loss == pytest.approx(losses[wrong[0]].item())


def test_a_model_without_mistakes_shows_none() -> None:
    made = shown(IMAGES, torch.randn(3, 1, 4, 4), answers([0, 1, 2], 3), torch.tensor([0, 1, 2]))
    assert set(made) == {"confusion"}


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
def test_what_cannot_be_looked_at_is_not_drawn(problem: Problem) -> None:
    kinds = {type(exhibit).__name__ for exhibit in exhibits_of(problem)}
    assert ("WorstMistakes" in kinds) == (problem.outputs > MOST_CLASSES)
    assert ("Confusion" in kinds) == (problem.task != "language_model" and problem.outputs == 3)


def test_a_regression_is_drawn_and_texts_are_written() -> None:
    regression = Problem("regression", (4,), 2, names=("price",))
    made = shown(regression, torch.zeros(9, 4), torch.randn(9, 2), torch.randn(9, 2))
    assert made["predictions"].picture is not None

    speech = Problem("transcription", (5, 4), 3, names=("", "a", "b"), is_sequence=True)
    heard = functional.one_hot(torch.tensor([[1, 1, 0, 2, 0]] * 20), 3).float()
    said, frames, lengths = torch.tensor([[1, 2, 2]] * 20), torch.full((20,), 5), torch.tensor([3])
    made = shown(speech, torch.zeros(20, 5, 4), heard, said, frames, lengths.expand(20))
    assert made["transcripts"].rows == [["said", "heard"], *[["abb", "ab"]] * 10]


@pytest.mark.parametrize("classes", [2, 10, 30, 100])
def test_a_confusion_picture_is_darkest_on_the_diagonal_of_a_good_model(classes: int) -> None:
    picture = confusion_picture(
        np.eye(classes, dtype=np.int64) * 7, [str(n) for n in range(classes)]
    )
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
    picture = mistakes_picture(mistakes * 4)
    assert picture.shape[2] == 3
    assert max(picture.shape) < 1000
    assert (picture != PAPER[0]).any()


def test_a_scatter_plot_of_equal_values_is_no_division_by_zero() -> None:
    same = np.full((5, 1), 2.5)
    assert scatter_picture(same, same, ["x"]).shape[2] == 3


def test_points_of_a_perfect_model_lie_on_the_diagonal() -> None:
    values = np.linspace(-3, 9, 50)[:, None]
    picture = scatter_picture(values, values, ["x"]).astype(int)
    y, x = np.nonzero(picture[..., 2] - picture[..., 0] > 60)
    assert np.ptp(x + y) <= 12  # a dot's width around x + y = constant


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1e-9, 1e-9), (1e6, 1.00001e6), (-7, 350)])
def test_scales_carry_a_few_round_numbers(low: float, high: float) -> None:
    values = ticks(low, high)
    assert 3 <= len(values) <= 8
    assert all(low <= value <= high for value in values)


def test_names_and_counts_are_cut_to_their_room() -> None:
    assert cut("dog", 100) == "dog"
    assert width(cut("a very long name of a class", 80)) <= 80
    assert [short(n) for n in (0, 9999, 10_000, 2_500_000, 3 * 10**9)] == [
        "0",
        "9999",
        "10k",
        "2M",
        "3G",
    ]


def test_columns_of_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    rows = [["a", "n", "word"], ["bb", "10", "x"], ["c", ".", "long one"]]
    assert lines_of(rows) == ["a    n  word", "bb  10  x", "c    .  long one"]


def test_a_png_holds_the_picture(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (5, 6, 3), np.uint8)
    path = tmp_path / "b.png"
    path.write_bytes(png_bytes(picture))
    assert np.array_equal(np.asarray(Image.open(path)), picture)


def test_a_table_is_markdown_whatever_its_cells_hold() -> None:
    assert as_markdown([["a", "b|c"], ["1", "\\"]]) == "| a | b\\|c |\n|---|---|\n| 1 | \\\\ |"
