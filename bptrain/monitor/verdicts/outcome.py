"""What came of a run: nothing, one class for everything, or the training data memorized."""

from bptrain import tags
from bptrain.monitor.verdicts.history import History
from bptrain.monitor.verdicts.learning_rate import stands_still
from bptrain.monitor.verdicts.progress import AT_CHANCE, LEARNS, Progress, progress_of
from bptrain.monitor.verdicts.verdict import Setup, Verdict

VAL_ACCURACY, VAL_F1 = tags.split_tag("val", "accuracy"), tags.split_tag("val", "macro_f1")
RISE = 0.15  # of the validation loss, as a fraction of the lowest, in two evaluations
NOISE = 0.05  # of the loss at chance: a validation loss near 0 may rise by less
COMMON = 1.2  # times an equal share: a constant prediction of classes as common is no learning
SHORTEST_PATIENCE = 3  # evaluations; more where the best one came late: an epoch is short there
GAP = 0.7  # training loss, as a fraction of the validation loss
CARRIES_OVER = 0.98  # of the loss at chance
LATE = 0.4  # of the steps
HIDDEN = ("model.hidden=[32]",)


def class_collapse(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on a classifier that predicts one class for every sample.

    If all are predicted as one class, whose share is a, its F1 is 2a / (1 + a) and that of the
    other K - 1 classes 0: the mean F1 is that over K.
    """
    accuracy, f1 = history.values(VAL_ACCURACY), history.values(VAL_F1)
    classes = history.first(tags.CLASSES)
    if len(accuracy) < 2 or not f1 or not classes:
        return None
    share = accuracy[-1]
    if share < COMMON / classes or abs(f1[-1] * classes - 2 * share / (1 + share)) > 1e-3 * classes:
        return None
    text = f"one class is predicted for every sample; {share:.1%} of them are of it"
    reason = (
        "the mean F1 over the classes is exactly that of a constant prediction: the accuracy is "
        "the share of the most common class, and the others are never found"
    )
    evidence = {"accuracy": share, "macro_f1": f1[-1]}
    kind = setup.key("loss.kind") or "cross_entropy"
    can_weigh = kind == "cross_entropy" and setup.key("loss.class_weights") is None
    advice = ("loss.kind=cross_entropy", "loss.class_weights=balanced") if can_weigh else ()
    return Verdict("class_collapse", history.step, text, reason, evidence, advice)


def overfitting(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on a validation loss that rises while the training loss falls.

    None with early stopping, which ends such a run and keeps its best state. Nothing is proposed
    where that state is no better than a constant prediction: to stop there is not to train, and no
    key of a config adds samples.
    """
    points, train = history.points(tags.VAL_LOSS), history.recent(tags.TRAIN_LOSS)
    if len(points) < 3 or train is None or setup.key("train.early_stopping") is not None:
        return None
    best, last = min(points, key=lambda point: point.value), points[-1]
    rise = min(each.value for each in points[-2:]) - best.value
    chance = history.first(tags.CHANCE_LOSS)
    if rise < max(RISE * best.value, NOISE * (chance or best.value)) or train > GAP * last.value:
        return None
    text = (
        f"the validation loss rose from {best.value:.3g} at step {best.step} "
        f"to {last.value:.3g}, the training loss is {train:.3g}"
    )
    reason = (
        f"a rise of {RISE:.0%} is beyond the noise of an evaluation, and a training loss "
        f"below {GAP:.0%} of the validation loss shows what it comes from"
    )
    patience = max(SHORTEST_PATIENCE, points.index(best) // 4)
    carries_over = not chance or best.value < CARRIES_OVER * chance
    advice = regularized(setup, patience) if carries_over else ()
    evidence = {"best": best.value, "best_step": float(best.step), "now": last.value}
    return Verdict("overfitting", history.step, text, reason, evidence, advice)


def regularized(setup: Setup, patience: int) -> tuple[str, ...]:
    """Return the changes that end a run near its best state, and make that one better.

    patience  evaluations without a lower validation loss
    """
    advice = (f"train.early_stopping={{patience: {patience}}}",)
    can_drop = setup.family in ("mlp", "cnn", "rnn") and not setup.key("model.dropout")
    return (*advice, "model.dropout=0.3") if can_drop else advice


def no_learning(history: History, setup: Setup) -> Verdict | None:
    """Return a verdict on a loss at chance, on the training data or on the validation data."""
    progress = progress_of(history)
    if progress is None:
        return None
    validation = min(history.values(tags.VAL_LOSS), default=None)
    known = history.first(tags.CHANCE_LOSS) is not None
    elsewhere = known and validation is not None and validation > CARRIES_OVER * progress.chance
    if not progress.is_at_chance and not elsewhere:
        return no_learning_of_a_line(history, setup, progress)
    where = "training" if progress.is_at_chance else "validation"
    loss = progress.now if progress.is_at_chance or validation is None else validation
    text = f"the {where} loss, {loss:.3g}, is that of a constant prediction"
    reason = (
        f"the best constant prediction costs {progress.chance:.3g}; a model above "
        f"{AT_CHANCE:.0%} of it uses nothing of its inputs. If the gradients are correct, the "
        "inputs say nothing of the targets, or they were put in another order"
    )
    if not known:
        text = f"the training loss, {loss:.3g}, is no lower than at the start"
        reason = (
            f"above {AT_CHANCE:.0%} of its first value, {progress.chance:.3g}, nothing is learned"
        )
    advice = HIDDEN if has_no_hidden_layer(setup) else ()
    evidence = {"loss": loss, "chance": progress.chance}
    return Verdict("no_learning", history.step, text, reason, evidence, advice)


def no_learning_of_a_line(history: History, setup: Setup, progress: Progress) -> Verdict | None:
    """Return a verdict on a linear model whose loss stands still, high above 0.

    Its loss has one minimum: neither a rate nor more steps find another.
    """
    is_linear = setup.family == "mlp" and has_no_hidden_layer(setup)
    if not is_linear or progress.learns or not stands_still(history.late(LATE)):
        return None
    text = f"the loss of a linear model stands still at {progress.share:.0%} of that at chance"
    reason = (
        f"the loss of a linear model has a single minimum. If that is above {LEARNS:.0%} of the "
        "loss of a constant prediction, most of what the inputs say is not linear in them, or "
        "they say little"
    )
    evidence = {"loss": progress.now, "chance": progress.chance}
    return Verdict("no_learning", history.step, text, reason, evidence, HIDDEN)


def has_no_hidden_layer(setup: Setup) -> bool:
    """Tell whether the config has an empty list of hidden layers."""
    return setup.key("model.hidden") in ([], ())
