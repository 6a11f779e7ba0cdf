"""`lr`: the learning-rate range test, its suggestion, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_files import CONFIGS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import Result

from bptrain.experiment.rate_range import RateRange

Bptrain = Callable[..., Result]
DIGITS = CONFIGS / "digits_mlp.yaml"
RATES = [10 ** (number / 10 - 6) for number in range(70)]  # 1e-6 to 8


def bowl(lowest: float, noise: float = 0.01) -> RateRange:
    """Return losses that fall from 2 by a half at lowest / 100, and rise from `lowest` on."""
    losses = [
        2 - 1.8 / (1 + lowest / 100 / rate) + (rate / lowest > 1) * (rate / lowest - 1)
        for rate in RATES
    ]
    return RateRange(RATES, [loss + noise * (-1) ** n for n, loss in enumerate(losses)])


@pytest.mark.parametrize("lowest", [1e-2, 1e-1, 1.0])
def test_the_suggestion_lies_between_the_fall_of_the_loss_and_its_rise(lowest: float) -> None:
    suggestion = bowl(lowest).suggestion
    assert suggestion is not None
    assert lowest / 200 < suggestion < lowest / 3
    halved = bowl(lowest / 2).suggestion
    assert halved is not None
    assert suggestion / halved == pytest.approx(2, rel=0.5)  # a step of the rates is 1.26


def test_a_loss_that_does_not_fall_gives_no_suggestion() -> None:
    flat = [2 + 0.1 * (-1) ** n for n in range(70)]
    assert RateRange(RATES, flat).suggestion is None
    assert RateRange(RATES, [2 + rate for rate in RATES]).suggestion is None


@pytest.mark.parametrize(
    "words",
    [["optimizer={kind: adam, lr: 0.5}"], ["model.normalization=batch", "optimizer.lr=1e-4"]],
)
def test_the_suggestion_trains_where_the_configs_rate_does_not(
    bptrain: Bptrain, words: list[str]
) -> None:
    assert bptrain("lr", DIGITS, *words, "--json", "lr.json").exit_code == 0
    rate = json.loads(Path("lr.json").read_text())["suggestion"]

    def accuracy(*more: str) -> float:
        run = more[0] if more else "as-it-was"
        result = bptrain("fit", DIGITS, *words, "train.epochs=3", *more, "--run-dir", run)
        assert result.exit_code == 0, result.stderr
        lines = Path(run, "metrics.jsonl").read_text().splitlines()
        return next(v for v in (json.loads(x).get("test/accuracy") for x in lines[::-1]) if v)

    assert accuracy(f"optimizer.lr={rate}") > max(0.85, accuracy() + 0.02)


def test_curve_and_suggestion_are_printed_drawn_and_logged(bptrain: Bptrain) -> None:
    words = ["--json", "lr.json", "--chart", "lr.png", "--board", "board"]
    result = bptrain("lr", DIGITS, "model.hidden=[16]", "--steps", "40", "--to", "1e4", *words)
    assert result.exit_code == 0, result.stderr
    assert "suggestion: optimizer.lr=" in result.stdout
    assert Path("lr.png").read_bytes().startswith(b"\x89PNG")
    curve = json.loads(Path("lr.json").read_text())
    assert len(curve["rates"]) == len(curve["losses"]) < 40  # it has diverged before the last rate
    assert curve["rates"][0] == pytest.approx(1e-6)
    board = EventAccumulator("board")
    board.Reload()
    logged = [event.value for event in board.Scalars("train/lr")]
    assert logged == pytest.approx(curve["rates"], rel=1e-6)
    assert board.Tags()["images"] == ["train/loss_over_rate"]
    assert {path.name for path in Path().iterdir()} == {"lr.json", "lr.png", "board"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--from", "1", "--to", "0.1"], 2, "--from 1 is not below --to 0.1"),
        (["--chart", "lr.bmp"], 2, "unknown format"),
        (["--json", "missing/lr.json"], 5, "there is no folder missing"),
        (["optimizer={kind: lbfgs}"], 2, "searches for the length of its steps"),
        (["--from", "1e5", "--to", "1e6"], 6, "not finite after"),
    ],
)
def test_what_cannot_be_tried_is_refused(
    bptrain: Bptrain, words: list[str], code: int, said: str
) -> None:
    result = bptrain("lr", DIGITS, *words)
    assert result.exit_code == code, result.stdout
    assert said in result.stderr


def test_rates_of_several_groups_keep_their_ratio(bptrain: Bptrain) -> None:
    words = ["optimizer={kind: muon, lr: 0.02}", "--steps", "20", "--to", "0.01"]
    assert bptrain("lr", DIGITS, *words, "--json", "lr.json").exit_code == 0
    assert len(json.loads(Path("lr.json").read_text())["rates"]) == 20
