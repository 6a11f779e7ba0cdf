"""Inputs and targets on a scale that initial weights and learning rates are not made for."""

from bptrain import tags
from bptrain.monitor.verdicts.history import History
from bptrain.monitor.verdicts.verdict import Setup, Verdict

LARGE, SMALL = 10.0, 0.02  # root mean square
REASON = (
    "initial weights keep the variance of inputs of about 1, and learning rates are made for it: "
    f"beyond {LARGE:g} the first layer's sums leave the range where activations have a slope, "
    f"below {SMALL:g} its weights get next to no gradient"
)


def input_scale(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on inputs far from a root mean square of 1."""
    rms = history.first(tags.INPUT_RMS)
    if rms is None or SMALL <= rms <= LARGE:
        return None
    advice = ("data.standardize=true",) if setup.key("data.standardize") is False else ()
    text = f"the inputs have a root mean square of {rms:.3g}, far from 1"
    return Verdict("input_scale", 0, text, REASON, {"input_rms": rms}, advice)


def target_scale(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on numbers to predict that are far larger than the model's outputs."""
    rms = history.first(tags.TARGET_RMS)
    if rms is None or rms <= LARGE:
        return None
    advice = ("data.scale_target=true",) if setup.key("data.scale_target") is False else ()
    text = (
        f"the targets have a root mean square of {rms:.3g}, while an untrained model's outputs are "
        "below 1"
    )
    reason = (
        "the loss's gradient is as large as the targets: either the learning rate is too high for "
        "it, or the outputs need thousands of steps to get there"
    )
    return Verdict("target_scale", 0, text, reason, {"target_rms": rms}, advice)
