"""The processes of a data-parallel run, and the sums over them.

Each process, a rank, trains on its rows of every batch. Rank r's mean loss over its n_r predictions
counts n_r / n in the mean over all n predictions of a step, so the gradients of these shares, added
over the ranks, are those of one process on the whole batch:

    l = sum_r n_r / n  l_r        dl/dw = sum_r n_r / n  dl_r/dw

They are added once a step, in buckets, during its last backward pass (`buckets.py`). All ranks
then have the same sums, bit for bit, and make the same update. Dropout's masks are drawn by rank:
the generators are seeded for each step by (seed, step, rank), so that nothing of them has to be
saved.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bptrain.errors import RankError, shorten
from bptrain.ops.over_processes import is_synchronized
from bptrain.train.buckets import BucketSums, StepSums

Value = TypeVar("Value")
REASON = 120  # characters


class Ranks:
    """The only process of a run: it has every row, and nothing is added."""

    rank, count = 0, 1
    limit: timedelta | None = None  # of an exchange
    shares_weights = False  # whether each rank holds a part of them (shards.py)

    def rows(self, samples: int) -> slice:
        """Return the rows of a batch that this rank trains on; the first ranks have one more."""
        each, left = divmod(samples, self.count)
        first = self.rank * each + min(self.rank, left)
        return slice(first, first + each + (self.rank < left))

    def seed(self, seed: int, step: int) -> None:
        """Seed the generators for a step; those of a single process stay as they are."""

    def sums(self, parameters: Sequence[nn.Parameter], bucket_bytes: float) -> StepSums:
        """Return what adds the loss and the gradients of each step over the ranks."""
        return StepSums()

    def total(self, sums: Tensor) -> Tensor:
        """Return sums over the ranks."""
        return sums

    def gathered(self, own: Tensor, samples: int, axis: int) -> Tensor:
        """Return the rows of all ranks along an axis, of which each has those of `rows(samples)`.

        own  this rank's rows; one that has none may hold another row in their place
        """
        return own

    def largest(self, number: int) -> int:
        """Return the largest of the ranks' numbers."""
        return number

    def from_first(self, value: Value) -> Value:
        """Return the value of rank 0, for which the others wait."""
        return value

    def wait_for_first(self) -> None:
        """Wait until rank 0 has done what it does alone and waits here too."""

    def refuse_drift(self, what: str, tensors: Sequence[Tensor]) -> None:
        """Raise RankError unless the tensors are the same on all ranks, bit for bit."""

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """Run a block inside which other code than this class exchanges tensors."""
        yield

    def part(self, tensor: Tensor) -> Tensor:
        """Return what this rank holds of a tensor."""
        return tensor

    def whole(self, tensor: Tensor) -> Tensor:
        """Return all of a tensor at rank 0, if every rank asks for it."""
        return tensor

    def found_anywhere(self, names: list[str]) -> list[str]:
        """Return the names that some rank has found among what it holds."""
        return names


ONE = Ranks()


class SeveralRanks(Ranks):
    """The processes of a job, whose group torch.distributed holds.

    awaited  waits for rank 0 as long as it is well: it may write or read for minutes
    lost     returns the error for a rank that no longer answers, given what an exchange failed by
    """

    def __init__(
        self,
        rank: int,
        count: int,
        awaited: Callable[[], None],
        lost: Callable[[str], RankError],
    ) -> None:
        self.rank, self.count, self._awaited, self._lost = rank, count, awaited, lost
        self._group: dist.ProcessGroup | None = None  # of the gradients; None: the job's own

    def seed(self, seed: int, step: int) -> None:
        """Seed the generators for a step.

        Not torch.manual_seed: without a GPU in use it notes the stack for four kinds of device.
        """
        mixed = sha256(f"{seed} {step} {self.rank}".encode()).digest()
        number = int.from_bytes(mixed[:8]) >> 1
        torch.default_generator.manual_seed(number)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(number)

    def sums(self, parameters: Sequence[nn.Parameter], bucket_bytes: float) -> StepSums:
        """Return what adds the loss and the gradients of each step over the ranks."""
        return BucketSums(parameters, bucket_bytes, self)

    def start_sum(self, tensor: Tensor) -> Callable[[], None]:
        """Start to add a tensor over the ranks, in place; return what waits for it."""
        with self._reaching():
            if self._group is None and is_synchronized():
                # statistics are added in between, in an order that need not be the same
                group = dist.new_group(timeout=self.limit)
                assert isinstance(group, dist.ProcessGroup), "every rank is a member"
                self._group = group
            work = dist.all_reduce(tensor, group=self._group, async_op=True)

        def wait() -> None:
            with self._reaching():
                work.wait()

        return wait

    def of_first(self, numbers: list[int]) -> list[int]:
        """Return the numbers of rank 0, by the CPU."""
        order = torch.tensor(numbers)
        with self._reaching():
            dist.broadcast(order, 0)
        return [int(each) for each in order]

    def total(self, sums: Tensor) -> Tensor:
        """Return sums over the ranks."""
        added = sums.clone()
        with self._reaching():
            dist.all_reduce(added)
        return added

    def gathered(self, own: Tensor, samples: int, axis: int) -> Tensor:
        """Return the rows of all ranks along an axis: one number and zeros are added."""
        rows, shape = self.rows(samples), list(own.shape)
        shape[axis], count = samples, rows.stop - rows.start
        padded = own.new_zeros(shape)
        padded.narrow(axis, rows.start, count).copy_(own.narrow(axis, 0, count))
        return self.total(padded)

    def largest(self, number: int) -> int:
        """Return the largest of the ranks' numbers, by the CPU: no GPU is waited for."""
        found = torch.tensor(number)
        with self._reaching():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def from_first(self, value: Value) -> Value:
        """Return the value of rank 0, for which the others wait."""
        self._awaited()
        values: list[Value] = [value]
        with self._reaching():
            dist.broadcast_object_list(values)
        return values[0]

    def wait_for_first(self) -> None:
        """Wait until rank 0 has done what it does alone and waits here too."""
        self._awaited()

    @torch.no_grad()
    def refuse_drift(self, what: str, tensors: Sequence[Tensor]) -> None:
        """Raise RankError unless the tensors are the same on all ranks.

        Their sums, each in float64, are compared: no more than a check value is exchanged.
        """
        own = torch.stack([each.double().sum() for each in tensors]).cpu().view(torch.int64)
        least_and_most = torch.cat([own, -1 - own])
        with self._reaching():
            dist.all_reduce(least_and_most, dist.ReduceOp.MIN)
        least, most = least_and_most.chunk(2)
        if not torch.equal(least, -1 - most):
            error = RankError(
                f"the ranks differ in {what}",
                "each made another update: a machine's memory or libraries are at fault",
                "--resume continues from the last checkpoint",
            )
            error.is_told = self.rank != 0
            raise error

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn the failure of an exchange inside the block into the error that says whose it is."""
        try:
            yield
        except RuntimeError as error:
            raise self._lost(reason(error)) from error


def reason(error: RuntimeError) -> str:
    """Return what a library says, without the place in its code, advice and its stack."""
    place, _, said = str(error).partition("\n")[0].partition("] ")
    return shorten((said if place.startswith("[") else str(error)).split(". ")[0], REASON)
