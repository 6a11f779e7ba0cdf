"""Units that pass no gradient: rectifiers that are 0, activations in their flat ends."""

from bptrain import tags
from bptrain.monitor.verdicts.gradient_flow import keeps_variance, remembers
from bptrain.monitor.verdicts.history import History
from bptrain.monitor.verdicts.rates import at_least_usual
from bptrain.monitor.verdicts.verdict import Setup, Verdict

DEAD = 0.8  # of a layer's units
SATURATED = 0.6  # of a layer's outputs


def dead_units(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on the first layer most of whose rectifiers are 0 for every sample."""
    for layer in history.layers(tags.dead_units):
        share = history.recent(tags.dead_units(layer))
        if share is not None and share > DEAD:
            text = f"{share:.0%} of the units of {layer} are 0 for every sample of a batch"
            reason = (
                "a unit that is 0 has no gradient, so it stays 0; up to half of a layer is common "
                f"in networks that learn, above {DEAD:.0%} what is left cannot represent the data"
            )
            advice: tuple[str, ...] = ()
            if setup.family in ("mlp", "cnn"):
                advice = ("model.activation=leaky_relu",)
            if setup.key("model.normalization") == "none":
                advice = (*advice, "model.normalization=batch")
            return Verdict("dead", history.step, text, reason, {"share": share}, advice, layer)
    return None


def saturation(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on the first layer that is saturated, from the start on."""
    for layer in history.layers(tags.saturated):
        start = history.first(tags.saturated(layer))
        now = history.recent(tags.saturated(layer))
        if start is not None and now is not None and min(start, now) > SATURATED:
            text = f"{now:.0%} of the outputs of {layer} lie in the flat ends of its activation"
            reason = (
                "there the slope is less than a twentieth of the largest one, so that hardly any "
                f"gradient passes; above {SATURATED:.0%} from the start on, the weights or inputs "
                "are too large"
            )
            evidence = {"share": now, "share_at_start": start}
            advice = unsaturated(history, setup)
            return Verdict("saturation", history.step, text, reason, evidence, advice, layer)
    return None


def unsaturated(history: History, setup: Setup) -> tuple[str, ...]:
    """Return the changes that let gradients pass, at a rate that moves weights that are too large.

    The state of a plain recurrent layer passes its activation at each step; that of an LSTM does
    not, so that saturated gates leave it a way back.
    """
    advice = keeps_variance(setup)
    if advice:
        return (*advice, *at_least_usual(setup))
    return remembers(history, setup) if setup.key("model.cell") == "rnn" else ()
