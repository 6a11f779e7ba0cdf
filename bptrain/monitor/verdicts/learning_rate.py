"""A learning rate that is too high or too low, divergence, and rates that fall too early."""

from math import log

from bptrain import tags
from bptrain.monitor.verdicts.history import History, is_number
from bptrain.monitor.verdicts.progress import progress_of
from bptrain.monitor.verdicts.rates import at_rate, lower, usual
from bptrain.monitor.verdicts.verdict import Setup, Verdict

LARGEST_UPDATE = 0.3  # of a layer's weights, in one step
# times the loss of a constant prediction, over the first steps; an untrained model's logits are
# near 0, which costs log K, while numbers may lie far from its outputs
WORSE_OF_CLASSES, WORSE_OF_NUMBERS = 3.0, 10.0
SMALLEST_UPDATE = 1e-5
DIVERGED = 3.0  # times the loss at the start, and at chance
FELL = 0.01  # of the largest rate
FLAT = 0.05  # of the loss


def rate_too_high(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on updates that replace the weights instead of changing them.

    On a run that learns after all, if both signs are there: its first weights are lost.
    """
    progress = progress_of(history)
    if progress is None:
        return None
    update = max([largest_growth(history)[0], *largest_updates(history)[:3]])
    classes = history.first(tags.CLASSES)
    untrained = max(progress.chance, log(max(classes, 1))) if classes else progress.chance
    excess = progress.first / untrained if untrained > 0 else 0.0
    worse = WORSE_OF_CLASSES if classes else WORSE_OF_NUMBERS
    signs = (update >= LARGEST_UPDATE) + (excess >= worse)
    if signs < (2 if progress.learns else 1):
        return None
    if update >= LARGEST_UPDATE:
        sign = f"a step changes a layer's weights by {update:.0%}"
    else:
        sign = f"the first steps cost {excess:.2g} times what a constant prediction does"
    reason = (
        f"a gradient holds for small steps alone: about 0.1 % is usual, and beyond "
        f"{LARGEST_UPDATE:.0%}, or with a loss {worse:g} times that at chance, each "
        "step undoes what the ones before have found"
    )
    evidence = {"update_ratio": update, "first_loss_ratio": excess}
    return Verdict(
        "learning_rate_too_high", history.step, sign, reason, evidence, at_rate(lower(setup))
    )


def divergence(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on a loss far above where it began."""
    progress = progress_of(history)
    if progress is None or progress.now < DIVERGED * max(progress.chance, progress.first):
        return None
    text = f"the loss rose from {progress.first:.3g} to {progress.now:.3g}"
    reason = f"a loss {DIVERGED:g} times that of the start and of a constant prediction is no noise"
    advice = (f"optimizer.lr={lower(setup):g}", "train.clip_grad_norm=1.0")
    evidence = {"first": progress.first, "now": progress.now}
    return Verdict("divergence", history.step, text, reason, evidence, advice)


def rate_too_low(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on updates that leave the weights where they are."""
    progress, updates = progress_of(history), largest_updates(history)
    if progress is None or progress.learns or not updates or max(updates) > SMALLEST_UPDATE:
        return None
    ratio = max(updates)
    text = f"a step changes no layer's weights by more than {ratio:.1g} of them"
    reason = (
        f"at {SMALLEST_UPDATE:g} of the weights a step, it takes a hundred thousand steps to "
        "change them by as much as they are"
    )
    advice = at_rate(usual(setup))
    return Verdict(
        "learning_rate_too_low", history.step, text, reason, {"update_ratio": ratio}, advice
    )


def plateau(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on a loss that stands still, far from 0, since the rate has fallen."""
    progress = progress_of(history)
    rates = history.values(tags.LEARNING_RATE)
    late = history.late(0.4)
    if progress is None or not any(rates) or progress.share < 0.3:
        return None
    fell = max(late.values(tags.LEARNING_RATE), default=0.0) / max(rates)
    if fell > FELL or not stands_still(late):
        return None
    text = (
        f"the loss stands still at {progress.now:.3g} since the learning rate fell to "
        f"{fell:.1g} of its largest value"
    )
    reason = "a rate that falls by more than a hundred before the loss is low ends the training"
    advice = ("schedule={kind: cosine}",)
    evidence = {"loss": progress.now, "rate_share": fell}
    return Verdict("plateau", history.step, text, reason, evidence, advice)


def stands_still(late: History) -> bool:
    """Tell whether the loss of the last part of a run is the same in both halves of it."""
    losses = late.values(tags.TRAIN_LOSS)
    half = len(losses) // 2
    if half == 0:
        return False
    before, after = sum(losses[:half]) / half, sum(losses[half:]) / (len(losses) - half)
    return abs(before - after) <= FLAT * before


def largest_growth(history: History) -> tuple[float, str]:
    """Return the layer that grew most before the first observed step, after how much a step."""
    growth = [
        (history.first(tags.weight_growth(layer)) or 0.0, layer)
        for layer in history.layers(tags.weight_growth)
    ]
    return max(growth, default=(0.0, ""))


def largest_updates(history: History) -> list[float]:
    """Return, for each observed line, the largest update of a layer relative to its weights."""
    names = [tags.update_ratio(layer) for layer in history.layers(tags.update_ratio)]
    found = [[line[n] for n in names if is_number(line.get(n))] for line in history.observed()]
    return [max(each) for each in found if each]
