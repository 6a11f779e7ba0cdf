"""What observing costs, measured in the run: the time that observed steps take longer."""

import time
from collections import deque
from statistics import median
from typing import TypeAlias

import torch

Moment: TypeAlias = "float | torch.cuda.Event"
RECENT = 200  # steps that an observed one is compared with
ENOUGH = 5  # observed steps, before their cost is told


class Overhead:
    """The share of the training time that observing has taken, on CUDA by the device's clock."""

    def __init__(self, device: torch.device) -> None:
        self.is_cuda = device.type == "cuda"
        self._unread: list[tuple[Moment, Moment, bool]] = []
        self._plain_s: deque[float] = deque(maxlen=RECENT)
        self._observed_s: list[float] = []
        self._total_s = 0.0

    def now(self) -> Moment:
        """Return this moment, of the device's work that was asked for so far."""
        if not self.is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def add(self, began: Moment, ended: Moment, is_observed: bool) -> None:
        """Note a step, without waiting for the device."""
        self._unread.append((began, ended, is_observed))

    def share(self) -> float | None:
        """Return the share, None while it cannot be told; the device has finished the steps."""
        for began, ended, is_observed in self._unread:
            seconds = _between(began, ended)
            self._total_s += seconds
            (self._observed_s if is_observed else self._plain_s).append(seconds)
        self._unread.clear()
        if not self._plain_s or not self._observed_s:
            return None
        usual_s = median(self._plain_s)
        return sum(each - usual_s for each in self._observed_s) / self._total_s

    def excess(self, limit: float | None) -> str:
        """Return a line that says what to set where the share is beyond its limit, else ""."""
        share = self.share()
        if limit is None or share is None or len(self._observed_s) < ENOUGH or share <= limit:
            return ""
        return (
            f"monitoring took {share:.1%} of the time, more than monitor.max_overhead={limit:g}: "
            "observed steps of this network cost more than is counted; "
            f"monitor.max_overhead={limit**2 / share:.1g} would hold it, or monitor.level=basic"
        )


def _between(began: Moment, ended: Moment) -> float:
    """Return seconds."""
    if isinstance(began, float) and isinstance(ended, float):
        return ended - began
    assert not isinstance(began, float), "both are of one device"
    assert not isinstance(ended, float), "both are of one device"
    milliseconds: float = began.elapsed_time(ended)
    return milliseconds / 1e3
