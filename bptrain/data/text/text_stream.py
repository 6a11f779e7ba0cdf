"""One long text, read a window at a time: in training by several streams at once.

Streams    in training the text is cut into B consecutive pieces of L steps, tokens [B, L]. To be
           evaluated it is read as a whole, by one stream: each stream begins without a context, so
           that more of them would predict worse, and the result would depend on the batch size
Windows    batch k holds steps kT to kT + T of each stream, [B, T]: a model that carries its state
           from batch to batch reads each stream as one sequence of L steps
Targets    the same, one step later: the token that follows each
Processes  each of several processes trains on some streams, the same ones in every batch, so that
           the states stay where their streams are. The one stream of an evaluation cannot be
           divided: all of them read it, and it counts in the process that has its row
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bptrain.data.batches import Batch, BatchSource, Rows, generator_of, len_of, taken
from bptrain.errors import DataError


@dataclass(frozen=True)
class TextStream:
    """A split that is one text.

    tokens  [n], of any integer type
    window  steps that are served at a time, where the call of `serve` does not say
    name    which part of which file it is, and `unit` what its tokens are, in errors
    """

    tokens: Tensor
    window: int
    name: str
    unit: str

    def __len__(self) -> int:
        """Return the number of predictions: the first token is given."""
        return max(0, len(self.tokens) - 1)

    @property
    def bytes(self) -> int:
        """Memory that the tokens take."""
        return self.tokens.nbytes

    @property
    def targets(self) -> Tensor:
        """The tokens that are predicted [n - 1]."""
        return self.tokens[1:]

    def to(self, device: torch.device) -> "TextStream":
        """Return the split on `device`."""
        return replace(self, tokens=self.tokens.to(device))

    def serve(
        self, batch_size: int, seed: int | None = None, window: int | None = None
    ) -> BatchSource:
        """Return the windows of the whole text, or with a seed those of `batch_size` streams.

        Raises DataError if training would have less than one whole window in each stream.
        """
        window = window or self.window
        if seed is None:
            return EveryWindow(self.tokens, window)
        self.refuse_if_shorter(
            batch_size * window + 1,
            f"each of {batch_size:,} streams reads a window of {window:,} steps at least",
            "a smaller data.batch_size, data.window or train.bptt, or more text",
        )
        return ShiftedWindows(self.tokens, batch_size, window, seed)

    def refuse_if_shorter(self, needed: int, why: str, hint: str) -> None:
        """Raise DataError if there are fewer than `needed` tokens."""
        if len(self.tokens) < needed:
            raise DataError(
                f"{self.name}: {len(self.tokens):,} {self.unit}s, {needed:,} are needed", why, hint
            )


class EveryWindow:
    """Each token of the text after the first predicted once, in its place in the text.

    The last window may be shorter.
    """

    def __init__(self, tokens: Tensor, window: int, rows: Rows | None = None) -> None:
        self.tokens, self.window, self.rows = tokens, window, rows
        self.steps = len(tokens) - 1

    def divided(self, rows: Rows) -> "EveryWindow":
        """Return the same windows, which count in the process that has the stream."""
        return EveryWindow(self.tokens, self.window, rows)

    def __len__(self) -> int:
        """Return the number of windows."""
        return -(-self.steps // self.window)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the windows from number `start` on, the same ones in each epoch."""
        yield from windows(self.tokens, (1, self.steps), self.window, start, self.rows)


class ShiftedWindows:
    """Whole windows, all of the same size, from a different position in the text in each epoch.

    The steps that do not fill a window are left out before the first stream and after the last
    one. How many are left out at each end is a pure function of (seed, epoch): epochs cut the text
    differently, and any epoch can be served again.
    """

    def __init__(self, tokens: Tensor, batch_size: int, window: int, seed: int) -> None:
        self.tokens, self.batch_size, self.window, self.seed = tokens, batch_size, window, seed
        # a window less than there are, if there are two, leaves every way to cut possible
        self.count = max(1, (len(tokens) - window) // (batch_size * window))
        self.rows: Rows | None = None

    def divided(self, rows: Rows) -> "ShiftedWindows":
        """Return the same windows, of some of the streams."""
        changed = copy(self)
        changed.rows = rows
        return changed

    def __len__(self) -> int:
        """Return the number of windows in an epoch."""
        return self.count

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the windows of an epoch from number `start` on."""
        streams, steps = self.batch_size, self.count * self.window
        left_over = len(self.tokens) - 1 - streams * steps
        generator = generator_of(self.seed, epoch)
        first = int(torch.randint(left_over + 1, (), generator=generator))
        yield from windows(self.tokens[first:], (streams, steps), self.window, start, self.rows)


def windows(
    tokens: Tensor, shape: tuple[int, int], window: int, start: int, rows: Rows | None
) -> Iterator[Batch]:
    """Yield the windows, from number `start` on, of consecutive streams.

    shape  streams, steps of each
    rows   the streams of this process; None for all

    The inputs are (tokens, starts): where `starts` is true the streams begin, and a recurrent state
    has to be reset.
    """
    streams, steps = shape
    own = slice(0, streams) if rows is None else rows(streams)
    read, next_ones = (
        tokens[begin : streams * steps + begin].view(shape)[taken(own)] for begin in (0, 1)
    )
    for first in range(start * window, steps, window):
        cut = slice(first, first + window)
        inputs, targets = read[:, cut].long(), next_ones[:, cut].long()
        predicted = inputs.shape[1]  # of each stream
        whole = None if rows is None else streams * predicted
        yield Batch((inputs, first == 0), (targets,), len_of(own) * predicted, whole)
