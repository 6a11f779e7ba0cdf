"""A run that ended because a number was not finite."""

from bptrain.monitor.verdicts.gradient_flow import keeps_variance
from bptrain.monitor.verdicts.rates import at_rate, is_above_usual, lower
from bptrain.monitor.verdicts.verdict import Setup, Verdict

EARLY = 10  # steps, in which a usual rate cannot have brought the weights far


def not_finite(step: int, what: str, why: str, setup: Setup) -> Verdict:
    """Return the verdict on a run that ended since a number was not finite."""
    reason = f"a NaN or an infinity makes every weight one; {why}" if why else "NaN spreads"
    evidence = {"failed_step": float(step)}
    return Verdict("divergence", step, what, reason, evidence, advice_at(step, setup))


def advice_at(step: int, setup: Setup) -> tuple[str, ...]:
    """Return the changes to try: of the weights at first where the rate cannot have done it."""
    if step <= EARLY and not is_above_usual(setup) and (advice := keeps_variance(setup)):
        return tuple(dict.fromkeys((*advice, "train.clip_grad_norm=1.0")))
    return tuple(dict.fromkeys((*at_rate(lower(setup)), "train.clip_grad_norm=1.0")))
