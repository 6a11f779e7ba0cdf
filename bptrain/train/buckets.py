"""The loss and the gradients of a step, added over the processes while the backward pass runs.

The gradients are divided into buckets, in the order in which a backward pass completes them. The
sum of a bucket over the processes starts as soon as its last gradient is complete, and runs while
the gradients of the layers below are computed:

    bucket 1 (last layers)    backward ....|==== sum ====|
    bucket 2                  backward .........|        ==== sum ====|
    bucket 3 (first layers)   backward ..............|               ==== sum ====|

The buckets are the same ones in all processes, those of rank 0's first backward pass, and start in
their order: all make the same exchanges in the same order, even where one of them completes its
gradients in another. A bucket is closed once it holds `bucket_bytes`. The first one is closed at
1 MiB, for its sum to start early, and holds the loss, which is known before all gradients.

A parameter without a gradient in one process counts as 0 there. Each bucket also counts in how many
processes there is one: where none has it, there is none afterwards, so that the optimizer leaves
the parameter alone as it would in one process.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from bptrain.tape.run import Completed

MIB = 2**20
FIRST_BYTES = MIB


class StepSums:
    """The sums of a run's only process: there is nothing to add."""

    def begin(self, loss: Tensor) -> Completed | None:
        """Begin with the loss of a step, before its last backward pass.

        Returns what notes each parameter whose gradient is complete, if anything does.
        """
        self.loss = loss
        return None

    def finish(self) -> Tensor:
        """Return the step's loss, once each gradient is the sum over the processes."""
        return self.loss


class Exchange(Protocol):
    """How tensors reach the other processes."""

    def start_sum(self, tensor: Tensor) -> Callable[[], None]:
        """Start to add a tensor over the processes, in place; return what waits for it."""
        ...

    def of_first(self, numbers: list[int]) -> list[int]:
        """Return the numbers of rank 0, as many as those given."""
        ...


class Started(NamedTuple):
    """A bucket whose sum has started: its tensor, and what waits for the sum."""

    tensor: Tensor
    wait: Callable[[], None]


class BucketSums(StepSums):
    """The sums over several processes.

    parameters    those that are trained, in the same order in each process
    bucket_bytes  how many bytes of gradients close a bucket
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], bucket_bytes: float, exchange: Exchange
    ) -> None:
        self.parameters, self.bucket_bytes = list(parameters), bucket_bytes
        self.exchange = exchange
        self.buckets: list[list[nn.Parameter]] = []  # known once the first step is complete
        self._bucket_of: dict[nn.Parameter, int] = {}
        self._numbers = {each: number for number, each in enumerate(self.parameters)}
        self._flags = [parameters[0].new_full((1,), each, dtype=torch.float32) for each in (0, 1)]

    def begin(self, loss: Tensor) -> Completed:
        """Begin with the loss of a step, before its last backward pass."""
        self.loss = loss.detach().float().view(1)
        self._completed: dict[nn.Parameter, None] = {}
        self._missing = [len(each) for each in self.buckets]
        self._started: list[Started] = []
        return self._note

    def _note(self, parameter: nn.Parameter) -> None:
        """Note that a parameter's gradient is complete, and start the sums that can start."""
        if parameter not in self._numbers:  # one of the loss's, which nobody trains
            return
        assert parameter not in self._completed, "no gradient changes once it is complete"
        self._completed[parameter] = None
        if self.buckets:
            self._missing[self._bucket_of[parameter]] -= 1
        while self._next is not None and not self._missing[len(self._started)]:
            self._start(self._next)

    def finish(self) -> Tensor:
        """Start what has not started, wait for all sums, and return that of the loss."""
        if not self.buckets:
            self._divide()
        while self._next is not None:  # it has a parameter that this pass did not use
            self._start(self._next)
        for bucket, (tensor, wait) in zip(self.buckets, self._started, strict=True):
            wait()
            self._take(bucket, tensor)
        loss = self._started[0].tensor[-1].clone()  # the log keeps it longer than the bucket
        self._started.clear()
        return loss

    @property
    def _next(self) -> list[nn.Parameter] | None:
        """The first bucket whose sum has not started."""
        started = len(self._started)
        return self.buckets[started] if started < len(self.buckets) else None

    def _divide(self) -> None:
        """Divide the parameters into buckets, in the order of rank 0's first backward pass."""
        order = [*self._completed, *(p for p in self.parameters if p not in self._completed)]
        numbers = self.exchange.of_first([self._numbers[each] for each in order])
        self.buckets = divided([self.parameters[n] for n in numbers], self.bucket_bytes)
        self._bucket_of = {p: n for n, bucket in enumerate(self.buckets) for p in bucket}

    def _start(self, bucket: list[nn.Parameter]) -> None:
        """Start the sum of a bucket: its gradients, for each whether it is there, the loss."""
        is_there = [each.grad is not None for each in bucket]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        first = [] if self._started else [self.loss]
        tensor = torch.cat(
            [*(each.flatten() for each in parts), *(self._flags[each] for each in is_there), *first]
        )
        self._started.append(Started(tensor, self.exchange.start_sum(tensor)))

    def _take(self, bucket: list[nn.Parameter], tensor: Tensor) -> None:
        """Set the gradients of a bucket to their sums."""
        sizes = [each.numel() for each in bucket]
        *parts, counts = tensor.split([*sizes, len(tensor) - sum(sizes)])
        sums = [part.view_as(parameter) for part, parameter in zip(parts, bucket, strict=True)]
        own = [(p.grad, added) for p, added in zip(bucket, sums, strict=True) if p.grad is not None]
        if own:
            torch._foreach_copy_([grad for grad, _ in own], [added for _, added in own])
        for place, (parameter, added) in enumerate(zip(bucket, sums, strict=True)):
            # a wait for the device, but only where this process has no gradient
            if parameter.grad is None and counts[place] > 0:
                parameter.grad = torch.empty_like(parameter).copy_(added)


def divided(parameters: Sequence[nn.Parameter], bucket_bytes: float) -> list[list[nn.Parameter]]:
    """Return parameters in buckets, in their order; one that is larger closes its bucket."""
    buckets: list[list[nn.Parameter]] = [[]]
    held = 0
    for parameter in parameters:
        if held >= (bucket_bytes if len(buckets) > 1 else min(FIRST_BYTES, bucket_bytes)):
            buckets.append([])
            held = 0
        buckets[-1].append(parameter)
        held += parameter.numel() * parameter.element_size()
    return buckets
