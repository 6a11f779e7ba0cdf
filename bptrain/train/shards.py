"""The processes of a run whose weights are divided among them, for models larger than one device.

Each process holds its rows of every weight, of its gradient, of the optimizer's state and of the
average: a shard. torch's fully_shard gathers the weights of one block of layers at a time, before
its forward and before its backward pass, and frees them after it; each gradient is added over the
processes and cut into shards as soon as it is complete. So the steps are those of data-parallel
training, and all that follows the backward pass acts on shards alone, as on any other tensors.

Elementwise updates do not see the difference. What is left to exchange are sums of squares, from
which norms follow (`ShardGradients`), and whole tensors for checkpoints, one at a time.

A model's parameters are DTensors, which know their whole shape. The part of one is the plain tensor
behind it: same memory, and a gradient of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bptrain.tape.layer_gradients import LayerGradients
from bptrain.train.buckets import StepSums
from bptrain.train.ranks import SeveralRanks, reason

PATIENCE = timedelta(minutes=10)  # rank 0 writes or reads a large checkpoint between two exchanges
Shard: TypeAlias = Any  # a DTensor, whose module takes seconds to import


def is_shard(tensor: Tensor) -> bool:
    """Return whether a tensor is divided among the processes."""
    return hasattr(tensor, "placements")


class ShardedRanks(SeveralRanks):
    """The processes of a job that share one model's weights.

    parts   what this process holds of each parameter of the model, once it is divided
    wholes  the parameter that each part belongs to
    """

    shares_weights = True
    parts: dict[nn.Parameter, nn.Parameter]
    wholes: dict[nn.Parameter, Shard]
    _patient: Any = None  # the group in which rank 0 is waited for

    def begin(self, model: nn.Module) -> None:
        """Hold the parts of a model that was divided."""
        with torch.no_grad():
            self.parts = {
                each: nn.Parameter(part_of(each), each.requires_grad) for each in model.parameters()
            }
        self.wholes = {part: whole for whole, part in self.parts.items()}

    def sums(self, parameters: Sequence[nn.Parameter], bucket_bytes: float) -> StepSums:
        """Return what adds the loss of each step, and gives the parts their gradients."""
        return ShardSums(self)

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """Turn the failure of an exchange of fully_shard's into the error that says whose it is."""
        try:
            yield
        except RuntimeError as error:
            if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            raise self._lost(reason(error)) from error

    def part(self, tensor: Tensor) -> Tensor:
        """Return what this rank holds of a tensor: of a parameter its part."""
        found = self.parts.get(tensor) if isinstance(tensor, nn.Parameter) else None
        return part_of(tensor) if found is None else found

    def found_anywhere(self, names: list[str]) -> list[str]:
        """Return the names that some rank has found, in the order of the first that did."""
        if not self.largest(len(names)):
            return names
        found: list[list[str]] = [[] for _ in range(self.count)]
        with self._reaching():
            dist.all_gather_object(found, names)
        return list(dict.fromkeys(name for each in found for name in each))

    def refuse_drift(self, what: str, tensors: Sequence[Tensor]) -> None:
        """Raise RankError unless the tensors that all ranks have whole are the same."""
        common = [each for each in tensors if not is_shard(each)]
        if common:
            super().refuse_drift(what, common)

    @property
    def patient(self) -> Any:
        """The group of all ranks, in which rank 0 is waited for while it reads or writes."""
        if self._patient is None:
            with self._reaching():
                self._patient = dist.new_group(timeout=PATIENCE)
        return self._patient

    def whole(self, tensor: Tensor) -> Tensor:
        """Return all of a tensor at rank 0, for which the others send their parts."""
        if not is_shard(tensor):
            return tensor
        part, rows = part_of(tensor), len(tensor)
        most = -(-rows // self.count)  # rows of a part; the last ones have fewer
        sent = part.new_zeros(most, *part.shape[1:])
        sent[: len(part)] = part
        gathered = part.new_empty(most * self.count, *part.shape[1:]) if self.rank == 0 else None
        places = None if gathered is None else [*gathered.split(most)]
        with self._reaching():
            dist.gather(sent, places, 0, self.patient)
        return part if gathered is None else gathered[:rows]

    def copied_from_first(
        self, tensor: Tensor | None, like: Tensor, device: torch.device
    ) -> Tensor:
        """Return the tensor of rank 0, of the shape and dtype of another one, on a device."""
        if tensor is None:
            copied = torch.empty(like.shape, dtype=like.dtype, device=device)
        else:
            copied = tensor.to(device).contiguous()
        with self._reaching():
            dist.broadcast(copied, 0, self.patient)
        return copied

    def cut_from_first(self, tensor: Tensor | None, like: Shard) -> Shard:
        """Return this rank's shard of a tensor of rank 0, divided as another one is."""
        own = part_of(like)
        most = -(-len(like) // self.count)
        received = own.new_empty(most, *own.shape[1:])
        sent = None
        if self.rank == 0:
            assert tensor is not None, "rank 0 has it"
            padded = own.new_zeros(most * self.count, *own.shape[1:])
            padded[: len(tensor)] = tensor
            sent = [*padded.split(most)]
        with self._reaching():
            dist.scatter(received, sent, 0, self.patient)
        return as_shard(received[: len(own)], like)


@torch.no_grad()
def part_of(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor, in the same memory."""
    if not is_shard(tensor):
        return tensor
    shard: Shard = tensor.detach()
    part: Tensor = shard.to_local()
    return part


def as_shard(part: Tensor, like: Shard) -> Shard:
    """Return the tensor of which `part` is this process's, divided as another one is."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        part,
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )


class ShardSums(StepSums):
    """The sums of steps whose gradients fully_shard adds over the ranks and cuts."""

    def __init__(self, ranks: ShardedRanks) -> None:
        self.ranks = ranks

    def finish(self) -> Tensor:
        """Give each part its gradient, and return the sum of the loss over the ranks."""
        for whole, part in self.ranks.parts.items():
            part.grad = None if whole.grad is None else part_of(whole.grad)
            whole.grad = None  # or the next step would add to it
        return self.ranks.total(self.loss.detach().float())


class ShardGradients(LayerGradients):
    """Gradients by layer whose norms are those of the whole tensors.

    The squares of all layers are added over the ranks at once; all of them ask for the same norms.
    """

    def __init__(self, model: nn.Module, ranks: ShardedRanks) -> None:
        super().__init__(model)
        self.ranks = ranks
        self.parameters = [ranks.parts[each] for each in self.parameters]
        changed = type(model)  # fully_shard has put a class before the model's own
        own = changed.__bases__[-1].__name__
        self.names = [own if name == changed.__name__ else name for name in self.names]

    def _by_layer(self, tensors: Sequence[Tensor | None]) -> Tensor:
        return self.ranks.total(super()._by_layer(tensors))
