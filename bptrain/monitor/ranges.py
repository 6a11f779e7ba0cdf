"""What a tensor holds: the range of its numbers, and how many of them are not finite."""

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor


@dataclass(frozen=True)
class Range:
    """The range of a tensor's finite numbers, and the counts of the others.

    low, high  None if no number is finite
    first      the index of the first number that is not finite
    """

    numbers: int
    low: float | None = None
    high: float | None = None
    nans: int = 0
    infinities: int = 0
    first: tuple[int, ...] = ()

    @classmethod
    @torch.no_grad()
    def of(cls, tensor: Tensor) -> "Range":
        """Return what a tensor of real numbers holds; this waits for the device."""
        numbers = tensor.numel()
        if not numbers:
            return cls(0)
        low, high = map(float, tensor.aminmax())
        if isfinite(low) and isfinite(high):  # aminmax passes a NaN on
            return cls(numbers, low, high)
        is_finite = tensor.isfinite()
        finite, nans = tensor[is_finite], int(tensor.isnan().sum())
        lowest, highest = map(float, finite.aminmax()) if finite.numel() else (None, None)
        first = tuple(map(int, is_finite.logical_not().nonzero()[0]))
        return cls(numbers, lowest, highest, nans, numbers - finite.numel() - nans, first)

    @property
    def is_finite(self) -> bool:
        """Whether every number is finite."""
        return not self.nans and not self.infinities

    def __str__(self) -> str:
        """Describe it, as in "[-0.5, 1.2e+30]" or "3 nan of 640, the first at [0, 7]"."""
        if self.is_finite:
            return f"[{self.low:.3g}, {self.high:.3g}]" if self.numbers else "nothing"
        counts = {"nan": self.nans, "inf": self.infinities}
        found = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        at = f", the first at {list(self.first)}" if self.first else ""
        return f"{found} of {self.numbers:,}{at}"
