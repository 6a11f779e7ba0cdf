"""`explain`: what a person sees, and the errors of wrong options."""

from collections.abc import Callable

import pytest
import torch
from small_files import CONFIGS

from bptrain.models.mlp import MLP

TINY = CONFIGS / "xor_tiny.yaml"
SMALL_CNN = [CONFIGS / "digits_cnn.yaml", "model.stages=[{channels: 4}, {channels: 6}]"]
SMALL_GRU = [CONFIGS / "adding_gru.yaml", "data.length=20", "model.hidden=5"]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def test_the_tiny_network_fits_on_a_page(bptrain: Callable) -> None:
    shown = bptrain("explain", TINY)
    assert shown.exit_code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert len(lines) < 130
    for said in (
        "xor-tiny: a training step on sample 0, before any training",
        "y_no = sum_i x_ni W_oi + b_o",
        "x' = y' (1 - y^2)",
        "because dy_no/dW_oi = x_ni, summed over n",
        "their sum, W' = ",
        "product of the chain  ",
    ):
        assert any(said in line for line in lines), said
    chain, measured = (
        next(line.split()[-1] for line in lines if name in line)
        for name in ("product of the chain", "finite difference")
    )
    assert chain[:9] == measured[:9]


def test_no_number_is_cut_off_on_80_columns(
    bptrain: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = bptrain("explain", TINY).stdout
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_training_comes_first_where_it_is_asked_for(bptrain: Callable) -> None:
    shown = bptrain("explain", TINY, "--steps", "3", "--sample", "2")
    assert "a training step on sample 2, after 3 steps of training" in shown.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [(SMALL_CNN, "reads a window of 3 x 3"), (SMALL_GRU, "carried back to step 0 (gru)")],
)
def test_windows_and_time_steps_are_shown(bptrain: Callable, words: list, said: str) -> None:
    shown = bptrain("explain", *words)
    assert shown.exit_code == 0, shown.stderr
    assert said in shown.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sample", "1000000000"], "there is no training sample 1,000,000,000"),
        (["--sample", "-1"], "--sample"),
        (["--steps", "1000"], "the run has 1,000 steps"),
        (["--steps", "many"], "--steps"),
    ],
)
def test_wrong_options_are_usage_errors(bptrain: Callable, words: list[str], said: str) -> None:
    shown = bptrain("explain", TINY, *words)
    assert shown.exit_code == 2
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_model_off_the_tape_is_refused(
    bptrain: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def curved(self: MLP, input: torch.Tensor) -> torch.Tensor:
        return torch.nn.Sequential.forward(self, input).erf()

    monkeypatch.setattr(MLP, "forward", curved)
    shown = bptrain("explain", TINY)
    assert shown.exit_code == 2
    assert "does not run on the tape" in shown.stderr
    assert len(shown.stderr.splitlines()) <= 6
