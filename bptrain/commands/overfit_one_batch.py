"""`fit --overfit-one-batch`: train on the first batch alone; can the model overfit it?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite

from rich.console import Console

from bptrain import tags
from bptrain.data import Batch
from bptrain.experiment.build import build
from bptrain.experiment.evaluation import refuse_non_finite
from bptrain.experiment.plan import Plan
from bptrain.experiment.starting_weights import starting_weights
from bptrain.monitor.console import format_values
from bptrain.train.accumulation import first_that_counts
from bptrain.train.evaluate import sums_of_step
from bptrain.train.loop import fit
from bptrain.train.memory import allocating
from bptrain.train.signals import StopRequest

DEFAULT_STEPS = 200  # where train.steps does not say


OVERFITTED_SHARE = 0.1  # of the first loss, where there is no accuracy to compare


@dataclass(frozen=True)
class Repeated:
    """One batch, again and again."""

    batch: Batch
    times: int

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.times

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batch as often as is left."""
        for _ in range(start, self.times):
            yield self.batch


def overfit_one_batch(plan: Plan, console: Console, stop: StopRequest) -> None:
    """Train on the first batch alone, and say whether the model can overfit it.

    A model that cannot has a bug or a learning rate that is far off: more data will not help it.
    """
    steps = plan.config.train.steps or DEFAULT_STEPS
    train = plan.config.train.model_copy(update={"steps": steps})  # which the schedule spans
    with allocating():
        experiment = build(
            replace(plan, config=plan.config.model_copy(update={"train": train})),
            starting_weights(plan),
        )
        experiment.update.batches = 1
        batch = first_that_counts(experiment.batches.epoch(0))
        metric = experiment.training_metric
        first = last = float("nan")
        measured: dict[str, float] = {}
        repeated = Repeated(batch, steps)
        for report in fit(experiment.engine, repeated, experiment.update, steps):
            step = report.position.step
            if step > 1 and step % max(1, steps // 10) and step < steps:
                continue
            last = float(report.loss)
            first = last if step == 1 else first
            if not isfinite(last):
                refuse_non_finite(f"the loss is {last} at step {step}")
            (sums,) = sums_of_step(metric, report)
            measured = tags.of_split("train", metric.values(sums.tolist()))
            shown = format_values({tags.TRAIN_LOSS: last, **measured})
            console.print(f"step {step}/{steps}  {shown}", highlight=False, soft_wrap=True)
    said = f"one batch of {len(batch.targets[0]):,}: loss {first:.4g} -> {last:.4g}"
    is_reached = is_overfitted(first, last, measured.get(tags.TRAIN_ACCURACY))
    sentence = verdict(f"{said} in {steps:,} steps", is_reached)
    console.print(sentence, highlight=False, soft_wrap=True)


def is_overfitted(first: float, last: float, accuracy: float | None) -> bool:
    """Tell whether a batch is overfitted: every answer right, or next to nothing left of the loss.

    Label smoothing leaves a fifth of the first loss even where every answer is right.
    """
    return accuracy == 1 or last < OVERFITTED_SHARE * first


def verdict(fall: str, is_reached: bool) -> str:
    """Return in a sentence or two what came of it."""
    if is_reached:
        return f"{fall}. Overfitted."
    return (
        f"{fall}. Not overfitted: try another optimizer.lr, more train.steps, and without "
        "what keeps a loss up (dropout, mixup, weight decay). If that does not help, look at the "
        "model, and at the labels."
    )
