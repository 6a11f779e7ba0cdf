"""`check` calls no right gradient wrong and lets no wrong one pass, on inputs full of kinks.

Here a selection of `trials.py`; all of them run in `scripts/check_trials`.
"""

import pytest
import torch
from trials import (
    INPUTS,
    KINK_TRIALS,
    TRIALS,
    UNDEFINED_AT_KINKS,
    VECTOR,
    WRONG_AT_KINKS,
    Trial,
    with_an_error,
)

from bptrain.verify import check

SELECTED = [
    Trial("mlp batch norm", "constant"),
    Trial("mlp hardswish", "integers"),
    Trial("cnn batch norm", "drawn shapes"),
    Trial("max of the input", "one-hot"),
    Trial("tokens", "zeros"),
    Trial("l1", "integers"),
]


def label(trial: Trial) -> str:
    return trial.label


@pytest.mark.parametrize("trial", SELECTED, ids=label)
def test_a_right_network_on_flat_inputs_is_called_right(trial: Trial) -> None:
    report = trial.check()
    assert report.ok, report
    assert report.at_kinks == [], report


@pytest.mark.parametrize("trial", SELECTED, ids=label)
def test_a_planted_error_on_flat_inputs_is_found(trial: Trial) -> None:
    with with_an_error(trial, TRIALS.index(trial)):
        report = trial.check()
    assert not report.ok, report


@pytest.mark.parametrize(("name", "inputs"), [k for k in KINK_TRIALS if k[0] in WRONG_AT_KINKS])
def test_an_error_at_kinks_alone_is_told_as_such(name: str, inputs: str) -> None:
    report = check(WRONG_AT_KINKS[name], INPUTS[inputs](VECTOR))
    assert report.at_kinks == ["Kinked"]
    assert "except at kinks in Kinked" in report.summary
    assert any("at exactly these inputs alone" in note for note in report.notes)


@pytest.mark.parametrize(("name", "inputs"), [k for k in KINK_TRIALS if k[0] in UNDEFINED_AT_KINKS])
def test_a_gradient_that_is_not_finite_at_a_kink_is_wrong(name: str, inputs: str) -> None:
    assert not check(UNDEFINED_AT_KINKS[name], INPUTS[inputs](VECTOR)).ok


def test_torchs_own_gradients_at_kinks_are_never_told() -> None:
    module = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(6, 4), torch.nn.ReLU())
    report = check(module, torch.zeros(5, 6))
    assert report.ok
    assert report.at_kinks == []
