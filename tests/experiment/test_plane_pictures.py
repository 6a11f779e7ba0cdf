"""What a network answers all over the plane: drawn at evaluations, of two-dimensional data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import Result

from bptrain.experiment import board_pictures
from bptrain.experiment.board_pictures import SIDE, is_plane, plane_pictures
from bptrain.experiment.build import Experiment, build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.problem import Problem


def experiment(**data: Any) -> Experiment:
    config = {
        "data": {"kind": "xor", "samples": 200, **data},
        "model": {"kind": "mlp", "hidden": [8], "dropout": 0.5},
        "train": {"epochs": 1, "ema_decay": 0.9},
    }
    return build(plan(ExperimentConfig.model_validate(config)))


def test_classes_are_drawn_where_the_model_puts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, Any] = {}

    def draw(shares: Any, corners: Any, points: Any, classes: Any, names: Any) -> Any:
        shown.update(shares=shares, corners=corners, points=points, classes=classes, names=names)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(board_pictures, "decision_boundary", draw)
    made = experiment()
    assert made.update.average is not None
    torch.nn.init.zeros_(made.model.output.weight)  # the average's are other weights
    random_state = torch.get_rng_state()
    assert list(plane_pictures(made)) == ["val/decision_boundary"]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert made.model.training
    left, right, bottom, top = shown["corners"]
    assert left < shown["points"][:, 0].min() < shown["points"][:, 0].max() < right
    row, column = 10, 70
    place = torch.tensor(
        [[left + (right - left) * column / (SIDE - 1), bottom + (top - bottom) * row / (SIDE - 1)]]
    )
    with made.update.average.in_place_of(made.model), torch.no_grad():
        expected = made.model.eval()(place).softmax(1)
    assert expected[0, 0] != 0.5
    np.testing.assert_allclose(shown["shares"][row, column], expected[0].numpy(), rtol=1e-4)
    assert shown["names"] == ("same", "different")
    assert set(shown["classes"]) == {0, 1}


def test_one_number_is_drawn_as_a_surface() -> None:
    (picture,) = plane_pictures(experiment(task="regression")).values()
    assert picture.ndim == 3


def test_answers_that_are_not_finite_are_not_drawn() -> None:
    made = experiment()
    assert made.update.average is not None
    with made.update.average.in_place_of(made.model), torch.no_grad():
        for parameter in made.model.parameters():
            parameter.fill_(torch.inf)
        made.update.average = None
        assert plane_pictures(made) == {}


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem("classification", (2,), 3), True),
        (Problem("regression", (2,), 1), True),
        (Problem("regression", (2,), 2), False),
        (Problem("classification", (3,), 3), False),
        (Problem("classification", (1, 2), 3), False),
        (Problem("classification", (2,), 3, vocabulary=5), False),
        (Problem("tagging", (2,), 3, is_sequence=True), False),
    ],
)
def test_only_points_with_one_answer_are_of_a_plane(problem: Problem, expected: bool) -> None:
    assert is_plane(problem) == expected


def test_a_run_draws_at_its_evaluations_and_at_its_end(
    bptrain: Callable[..., Result], tmp_path: Path
) -> None:
    text = "name: x\ndata: {kind: xor, samples: 100, batch_size: 100}\nmodel: {kind: mlp}\n"
    (tmp_path / "x.yaml").write_text(text)
    assert bptrain("fit", "x.yaml", "train.epochs=6", "--run-dir", "run").exit_code == 0
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"), {"images": 0})
    board.Reload()
    assert [each.step for each in board.Images("val/decision_boundary")] == [1, 2, 4, 6]
