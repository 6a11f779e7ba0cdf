"""How a cost grows: y = c x^a, fitted by least squares on logarithms."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log


@dataclass(frozen=True)
class PowerLaw:
    """y = factor x^exponent."""

    exponent: float
    factor: float

    def at(self, x: float) -> float:
        """Return y."""
        return self.factor * float(x**self.exponent)


def fit_power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw:
    """Return the power law through the points, each weighed the same.

    Raises ValueError for numbers that are not positive, or fewer than two different x.
    """
    if len(x) != len(y) or len(set(x)) < 2 or min(*x, *y) <= 0:
        raise ValueError(f"no power law through {list(x)} and {list(y)}")
    log_x, log_y = [log(each) for each in x], [log(each) for each in y]
    mean_x, mean_y = sum(log_x) / len(x), sum(log_y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(log_x, log_y, strict=True))
    exponent = covariance / sum((a - mean_x) ** 2 for a in log_x)
    return PowerLaw(exponent, exp(mean_y - exponent * mean_x))
