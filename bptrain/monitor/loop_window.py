"""The steps of a loop since the last line of its log, and the scale of its first inputs."""

import time
from collections.abc import Iterable
from math import isfinite, sqrt

import torch
from torch import Tensor

from bptrain import tags
from bptrain.monitor.model_passes import Pass

BATCHES = 8  # whose inputs are looked at


class LoopWindow:
    """Losses and gradient norms of steps, which stay on the device until they are read."""

    def __init__(self) -> None:
        self._unread: list[tuple[int, Tensor]] = []
        self._losses: list[float] = []
        self._began_s = time.perf_counter()

    def add(self, step: int, loss: Tensor, total: Tensor) -> None:
        """Add a step, without waiting for the device."""
        self._unread.append((step, torch.stack([loss, total])))

    def read(self, overflows: bool = False) -> tuple[int, str] | None:
        """Read the steps; return the first that is not finite, and what it is.

        overflows  whether a gradient may be infinite: a scaler then skips the update
        """
        unread, self._unread = self._unread, []
        pairs = [pair for _, pair in unread]
        numbers = torch.stack(pairs).tolist() if len(pairs) > 1 else [p.tolist() for p in pairs]
        for (step, _), (loss, total) in zip(unread, numbers, strict=True):
            if not isfinite(loss):
                return step, f"the loss is {loss} at step {step}"
            if not isfinite(total) and not overflows:
                return step, f"the norm of the gradient is {abs(total)} at step {step}"
            self._losses.append(loss)
        return None

    def values(self) -> dict[str, float]:
        """Return the mean loss and the time of the steps that were read, by tag."""
        if not self._losses:
            return {}
        elapsed_s = time.perf_counter() - self._began_s
        return {
            tags.TRAIN_LOSS: sum(self._losses) / len(self._losses),
            tags.STEP_MS: 1e3 * elapsed_s / len(self._losses),
        }

    def restart(self) -> None:
        """Begin the next window now."""
        self._losses, self._began_s = [], time.perf_counter()


class InputScale:
    """The root mean square of the inputs: of the first tensor of each pass, if it holds numbers."""

    def __init__(self) -> None:
        self._left, self._count = BATCHES, 0
        self._squares: Tensor | None = None

    @torch.no_grad()
    def add(self, passes: Iterable[Pass]) -> None:
        """Add the inputs of passes, without waiting for the device."""
        for each in passes if self._left else ():
            self._left = max(0, self._left - 1)
            first = next(iter(each.tensors), None)
            if first is not None and first.is_floating_point():
                squares = first.float().square().sum()
                self._squares = squares if self._squares is None else self._squares + squares
                self._count += first.numel()

    def values(self) -> dict[str, float]:
        """Return the number by tag, once."""
        self._left, squares, self._squares = 0, self._squares, None
        if squares is None:
            return {}
        return {tags.INPUT_RMS: sqrt(float(squares) / max(1, self._count))}
