"""The learning-rate range test: a short run whose rate grows until the loss diverges.

The loss hardly changes while the rate is too small, falls where it is of use, and rises where it is
too large (Smith 2017, "Cyclical learning rates for training neural networks", section 3.3). The
weights are thrown away afterwards.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import fmean, stdev

from bptrain.errors import NonFiniteError, UsageError
from bptrain.experiment.build import Experiment
from bptrain.train.loop import fit

SMOOTHING = 0.9  # of the running mean: about the last ten losses count
DIVERGED = 4.0  # times its start: a loss that has risen so far will not come back
FEWEST_LOSSES = 10  # a curve of fewer shows nothing
BELOW_LOWEST = 10.0  # the lowest point is reached on the way to divergence: too large by about this


@dataclass(frozen=True)
class RateRange:
    """The rates that were tried, in their order, and the loss of the step before each update."""

    rates: Sequence[float]
    losses: Sequence[float]

    @property
    def smoothed(self) -> list[float]:
        """The running mean of the losses, without its bias to the start."""
        return list(_running_means(self.losses))

    @property
    def suggestion(self) -> float | None:
        """The middle of the rates that are of use, on a logarithmic axis; None where there is none.

        They begin where half of the loss's fall is reached, which hardly depends on the noise of
        batches, as the steepest slope does, and end at a tenth of the rate of the lowest loss. A
        fall within the noise of the first losses, where the rate is too small to matter, is none.
        """
        smoothed = self.smoothed
        start, noise = fmean(self.losses[:FEWEST_LOSSES]), stdev(self.losses[:FEWEST_LOSSES])
        lowest = min(range(len(smoothed)), key=smoothed.__getitem__)
        if lowest == 0 or start - smoothed[lowest] <= noise:
            return None
        half = (start + smoothed[lowest]) / 2
        last_above = max(n for n in range(lowest) if smoothed[n] > half)
        return sqrt(self.rates[last_above] * self.rates[lowest] / BELOW_LOWEST)


def _running_means(losses: Sequence[float]) -> Iterator[float]:
    mean = 0.0
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        yield mean / (1 - SMOOTHING**number)


def try_rates(experiment: Experiment, lowest: float, highest: float, steps: int) -> RateRange:
    """Train with a rate that grows by a constant factor a step, until the loss diverges.

    The rate is that of the optimizer's first group; others keep their ratio to it. Raises
    UsageError for an optimizer that searches for its own step, and NonFiniteError where the loss is
    not finite before anything can be read from the curve.
    """
    update = experiment.update
    if update.searches:
        raise UsageError(
            f"optimizer.kind {experiment.config.optimizer.kind} searches for the length of its "
            "steps",
            hint="its optimizer.lr scales what it finds, and 1 is what it is made for",
        )
    growth = (highest / lowest) ** (1 / (steps - 1))
    update.schedule = lambda step: lowest * growth**step / update.base_lrs[0]
    rates: list[float] = []
    losses: list[float] = []
    for report in fit(experiment.engine, experiment.batches, update, steps):
        loss = float(report.loss)  # reads it from the device: a run of a hundred steps may wait
        if not isfinite(loss) or update.withholding.withheld:
            break
        rates.append(report.change.lr)
        losses.append(loss)
        if loss > DIVERGED * max(losses[0], sys.float_info.min):
            break
    if len(losses) < FEWEST_LOSSES:
        raise NonFiniteError(
            f"the loss is not finite after {len(losses)} steps",
            f"the rate was {rates[-1]:.3g} then" if rates else "the weights are the initial ones",
            "a smaller --from, or `bptrain diagnose` after a run",
        )
    return RateRange(rates, losses)
