"""When a run with a fault counts as sick: by what it reaches, beside the same run without it."""

import json
from pathlib import Path

import pytest
from reached import Reached

from bptrain import tags
from bptrain.monitor.verdicts.outcome import VAL_F1


def run(folder: Path, losses: list[float], f1: float | None = None) -> Path:
    lines = [{"step": 10 * n, tags.VAL_LOSS: loss} for n, loss in enumerate(losses, 1)]
    lines[0][tags.CHANCE_LOSS] = 2.0
    if f1 is not None:
        lines[-1][VAL_F1] = f1
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def test_what_counts_is_the_last_validation_loss_beside_that_at_chance(tmp_path: Path) -> None:
    reached = Reached.by(run(tmp_path, [1.9, 0.4, 0.5], 0.8))
    assert reached == (0.25, 0.8)
    assert reached.has_learned
    assert not Reached.by(run(tmp_path, [1.9, 1.71])).has_learned


def test_a_run_that_failed_has_reached_nothing(tmp_path: Path) -> None:
    run(tmp_path, [1.9, 0.4])
    (tmp_path / "error.txt").write_text("the loss is nan")
    assert Reached.by(tmp_path).is_less_than(Reached(3.0, None))


@pytest.mark.parametrize(
    ("reached", "is_less"),
    [
        (Reached(0.34, 0.8), False),
        (Reached(0.36, 0.8), True),
        (Reached(0.2, 0.71), False),
        (Reached(0.2, 0.69), True),  # a rare class that is never found, at a low loss
        (Reached(0.2, None), False),
    ],
)
def test_clearly_less_is_a_tenth_of_the_loss_at_chance_or_of_f1(
    reached: Reached, is_less: bool
) -> None:
    assert reached.is_less_than(Reached(0.25, 0.8)) is is_less
