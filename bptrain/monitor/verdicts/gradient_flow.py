"""Vanishing and exploding gradients: over the layers, and over time in recurrent ones."""

from collections.abc import Callable
from math import log
from statistics import median
from typing import Any

from bptrain import tags
from bptrain.monitor.verdicts.history import History, Line, is_number
from bptrain.monitor.verdicts.learning_rate import LARGEST_UPDATE, largest_growth
from bptrain.monitor.verdicts.progress import progress_of
from bptrain.monitor.verdicts.rates import FAR, at_least_usual, is_above_usual, is_gated, lower
from bptrain.monitor.verdicts.verdict import Setup, Verdict

VANISHED = 1e-3  # of the gradient at the last layer
VANISHED_OVER_TIME = 1e-3  # of the gradient at the last time step
VANISHED_THROUGH_GATES = 1e-8  # the same of LSTM and GRU, whose gates open as they learn
EXPLODED = 1e3
FEWEST_STEPS = 10  # of time, for a verdict on it
# time steps over which orthogonal weights alone keep the gradient: each multiplies it by tanh's
# slope, 1 - h^2, which for states of about 1/4 is 15/16: (15/16)^100 is just above a thousandth
LONGEST_WITHOUT_GATES = 100
REVERSE = "_reverse"  # ends the name of a backward direction
LARGEST_BIAS = 10.0  # that a config accepts
DEEP = 12  # layers, from which on a network needs paths around them


def vanishing(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on a model that does not learn and whose early layers get no gradient."""
    progress = progress_of(history)
    if progress is None or progress.learns:
        return None
    for layer in history.layers(tags.time_gradient):
        ratio = typical(history.observed(), over_time, layer)
        if ratio is not None and ratio < vanished_over_time(setup):
            return vanishing_over_time(history, setup, layer, ratio)
    names = history.layers(tags.activation_gradient)
    for layer in reversed(names[:-1]):
        ratio = typical(history.observed(), relative, layer, names[-1])
        if ratio is not None and ratio < VANISHED:
            return vanishing_over_depth(history, setup, layer, ratio)
    return None


def vanishing_over_depth(history: History, setup: Setup, layer: str, ratio: float) -> Verdict:
    """Return the verdict on the layer from which on, toward the input, no gradient arrives."""
    text = f"at {layer} and before it the gradient is {ratio:.1g} of what it is at the output"
    reason = (
        f"with less than {VANISHED:g} of the output layer's gradient, a layer stands still while "
        "the layers after it learn from what it happens to compute"
    )
    return Verdict(
        "vanishing", history.step, text, reason, {"ratio": ratio}, keeps_variance(setup), layer
    )


def vanishing_over_time(history: History, setup: Setup, layer: str, ratio: float) -> Verdict:
    """Return the verdict on a recurrent layer whose early time steps get no gradient."""
    text = (
        f"over time: in {layer} the first steps get {ratio:.1g} of the gradient that the last gets"
    )
    reason = (
        f"below {vanished_over_time(setup):g}, what the first steps read has no influence on the "
        "weights: dependencies over that time are not learned"
    )
    advice = remembers(history, setup) if setup.family == "rnn" else ()
    return Verdict("vanishing", history.step, text, reason, {"ratio": ratio}, advice, layer)


def remembers(history: History, setup: Setup) -> tuple[str, ...]:
    """Return the changes that make a layer keep its state over the time steps of the data.

    Orthogonal recurrent weights, up to LONGEST_WITHOUT_GATES time steps, unless the config has them
    already. Beyond, an LSTM: its forget gate of sigma(b) keeps a share e^-1 of the state over T
    steps if b = log T. Source: Tallec and Ollivier 2018, arXiv:1804.11188, section 3.
    """
    steps = history.first(tags.TIME_STEPS) or FEWEST_STEPS
    orthogonal = keeps_variance(setup)
    if orthogonal and not is_gated(setup) and steps <= LONGEST_WITHOUT_GATES:
        return orthogonal
    forget_bias = f"model.forget_bias={min(log(max(steps, 1)), LARGEST_BIAS):.1f}"
    advice = ("model.cell=lstm", forget_bias, *orthogonal)
    return advice if is_gated(setup) else (*advice, *at_least_usual(setup, through_gates=True))


def vanished_over_time(setup: Setup) -> float:
    """Return the share of the last step's gradient below which the first steps get none."""
    return VANISHED_THROUGH_GATES if is_gated(setup) else VANISHED_OVER_TIME


def exploding(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on gradients that grow from the output to the input, or back over time."""
    early = history.observed()[:3]
    for layer in history.layers(tags.time_gradient):
        growth = typical(early, over_time, layer)
        if growth is not None and growth > EXPLODED:
            text = (
                f"over time: in {layer} the first steps get {growth:.1g} times the gradient that "
                "the last gets"
            )
            return _exploding(history, setup, text, growth, layer, bounded(history, setup))
    names = history.layers(tags.activation_gradient)
    for layer in names[:-1]:
        growth = typical(early, relative, layer, names[-1])
        if growth is not None and growth > EXPLODED:
            text = f"at {layer} the gradient is {growth:.1g} times that at the output"
            return _exploding(history, setup, text, growth, layer, bounded(history, setup))
    return exploded(history, setup)


def exploded(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on weights that sgd threw far away at a usual rate, before any was observed.

    Its steps are as large as the gradient, while those of the others are bounded by the rate.
    """
    growth, layer = largest_growth(history)
    progress = progress_of(history)
    by_gradient = setup.key("optimizer.kind") == "sgd" and not is_above_usual(setup)
    if not by_gradient or growth < LARGEST_UPDATE or progress is None or progress.learns:
        return None
    text = f"at a usual learning rate, {layer} moved by {growth:.0%} of its weights a step at first"
    reason = (
        f"sgd moves weights by the rate times the gradient: at a usual rate, steps beyond "
        f"{LARGEST_UPDATE:.0%} mean that the gradient is far too large"
    )
    evidence = {"growth_per_step": growth}
    return Verdict(
        "exploding", history.step, text, reason, evidence, bounded(history, setup), layer
    )


def bounded(history: History, setup: Setup) -> tuple[str, ...]:
    """Return the changes that keep a gradient of one size, and bound what is left."""
    is_plain = setup.family == "rnn" and not is_gated(setup)
    advice = remembers(history, setup) if is_plain else keeps_variance(setup)
    return tuple(dict.fromkeys((*advice, "train.clip_grad_norm=1.0")))


def _exploding(
    history: History,
    setup: Setup,
    text: str,
    growth: float,
    layer: str,
    advice: tuple[str, ...],
) -> Verdict:
    if is_above_usual(setup, FAR):
        advice = (*advice, f"optimizer.lr={lower(setup):g}")
    reason = (
        f"beyond {EXPLODED:g} no learning rate suits both ends: what moves the last layers throws "
        "the first ones far away"
    )
    return Verdict("exploding", history.step, text, reason, {"growth": growth}, advice, layer)


def keeps_variance(setup: Setup) -> tuple[str, ...]:
    """Return the changes that keep activations and gradients of one size over the layers.

    None for a list of layers, whose changes no single key makes.
    """
    if setup.family == "rnn":
        return ("model.init=orthogonal",) if setup.key("model.init") == "default" else ()
    if setup.family not in ("mlp", "cnn"):
        return ()
    advice: tuple[str, ...] = ()
    if setup.key("model.activation") not in (None, "relu", "leaky_relu", "gelu", "silu"):
        advice = ("model.activation=relu",)
    if setup.key("model.normalization") == "none":
        advice = (*advice, "model.normalization=batch")
    hidden = setup.key("model.hidden")
    if setup.family == "mlp" and isinstance(hidden, list | tuple) and len(hidden) >= DEEP:
        paths = () if setup.key("model.residual") else ("model.residual=true",)
        advice = (*advice, *paths, "train.clip_grad_norm=1.0")
    elif setup.key("model.init") == "default":
        advice = (*advice, "model.init=kaiming")
    return advice


def typical(
    lines: list[Line], number: Callable[..., float | None], *arguments: str
) -> float | None:
    """Return the median of number(line, *arguments) over lines, None where no line has it."""
    found = [value for line in lines if (value := number(line, *arguments)) is not None]
    return median(found) if found else None


def relative(line: Line, layer: str, last: str) -> float | None:
    """Return the gradient at a layer's output as a fraction of that at the last layer's."""
    return quotient(
        line.get(tags.activation_gradient(layer)), line.get(tags.activation_gradient(last))
    )


def over_time(line: Line, layer: str) -> float | None:
    """Return the gradient at the steps read first as a fraction of the largest at those read last.

    The backward direction of a bidirectional layer reads the last time step first.
    """
    series = line.get(tags.time_gradient(layer))
    if not isinstance(series, list) or len(series) < FEWEST_STEPS:
        return None
    numbers = [each for each in series if is_number(each)]
    if layer.endswith(REVERSE):
        numbers.reverse()
    tenth = max(1, len(series) // 10)
    return quotient(median(numbers[:tenth]), max(numbers[-tenth:])) if numbers else None


def quotient(part: Any, whole: Any) -> float | None:
    """Return part / whole, None where that is no number."""
    return part / whole if is_number(part) and is_number(whole) and whole > 0 else None
