"""Verdicts: what is wrong with a run, from what it logged."""

from collections.abc import Callable, Mapping

from bptrain.monitor.verdicts.gradient_flow import exploding, vanishing
from bptrain.monitor.verdicts.history import History
from bptrain.monitor.verdicts.learning_rate import (
    divergence,
    plateau,
    rate_too_high,
    rate_too_low,
)
from bptrain.monitor.verdicts.outcome import class_collapse, no_learning, overfitting
from bptrain.monitor.verdicts.scale import input_scale, target_scale
from bptrain.monitor.verdicts.units import dead_units, saturation
from bptrain.monitor.verdicts.verdict import Setup, Verdict

Judge = Callable[[History, Setup], Verdict | None]

# from causes to consequences: the first verdict is the one to act on
CAUSES: dict[str, Judge] = {
    "input_scale": input_scale,
    "target_scale": target_scale,
    "exploding": exploding,
    "learning_rate_too_high": rate_too_high,
    "learning_rate_too_low": rate_too_low,
    "dead": dead_units,
    "saturation": saturation,
    "vanishing": vanishing,
    "divergence": divergence,
    "plateau": plateau,
}
OUTCOMES: dict[str, Judge] = {
    "class_collapse": class_collapse,
    "overfitting": overfitting,
    "no_learning": no_learning,
}
KINDS = (*CAUSES, *OUTCOMES)
EXPLAINS = {  # a cause, and what follows from it
    "input_scale": ("saturation", "learning_rate_too_high", "exploding", "vanishing", "divergence"),
    "target_scale": ("learning_rate_too_high", "exploding", "divergence"),
    "exploding": ("learning_rate_too_high", "divergence", "saturation"),
    "learning_rate_too_high": ("dead", "saturation", "vanishing", "divergence"),
    "dead": ("vanishing",),
    "saturation": ("vanishing",),
    "learning_rate_too_low": ("vanishing", "plateau"),
    "divergence": ("vanishing",),  # weights that were thrown far away saturate what they feed
    "overfitting": ("no_learning",),  # on the validation data
}


def verdicts_on(history: History, setup: Setup) -> list[Verdict]:
    """Return what is wrong with a run, the cause to begin with first; [] for a healthy one.

    What came of it is judged where no cause was found.
    """
    if not history.lines:
        return []
    return _found(CAUSES, history, setup) or _found(OUTCOMES, history, setup)


def _found(judges: Mapping[str, Judge], history: History, setup: Setup) -> list[Verdict]:
    """Return the verdicts that no other one of these explains."""
    found = [each for judge in judges.values() if (each := judge(history, setup)) is not None]
    explained = {kind for each in found for kind in EXPLAINS.get(each.kind, ())}
    return [each for each in found if each.kind not in explained]


__all__ = ["KINDS", "History", "Setup", "Verdict", "verdicts_on"]
