"""Divide a model among the processes of a run, and what belongs to its weights with them."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.stateful import Tree, mapping
from bptrain.tape.layer_gradients import LayerGradients
from bptrain.train.averaging import AveragedWeights
from bptrain.train.precision import parameters_of
from bptrain.train.ranks import Ranks
from bptrain.train.shards import ShardedRanks, ShardGradients, as_shard, is_shard
from bptrain.train.states import OptimizerState

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def units_of(model: nn.Module) -> list[nn.Module]:
    """Return the parts of a model whose weights are gathered together, those of the rest left out.

    A unit is a child that has parameters, or a block in a container of blocks. A network that is
    the only child is looked into: its units are those of the model. Weights that are used in
    several units belong to none.
    """
    uses = Counter(p for module in model.modules() for p in module._parameters.values())
    return [
        unit
        for unit in _blocks(model)
        if all(uses[p] == 1 for p in unit.parameters()) and any(True for _ in unit.parameters())
    ]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    trained = [child for child in module.children() if any(True for _ in child.parameters())]
    for child in trained:
        has_blocks = any(True for each in child.children() for _ in each.children())
        if has_blocks and (type(child) in CONTAINERS or trained == [child]):
            yield from _blocks(child)
        else:
            yield child


def bytes_of(module: nn.Module) -> int:
    """Return the bytes of a module's parameters."""
    return sum(p.numel() * p.element_size() for p in module.parameters())


def divide(model: nn.Module, ranks: ShardedRanks, device: torch.device) -> None:
    """Divide a model that rank 0 has on the CPU, and the others without memory (on meta).

    Each unit comes whole to the device, is cut, and the other parts freed, one after the other.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # it warns of units that return a view: what writes into one loses the hook that gathers the
    # unit's weights again. `no_writing` lets nothing write
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    no_writing(model)
    mesh = init_device_mesh(device.type, (ranks.count,))
    ranks.wait_for_first()  # which draws the weights
    received: set[nn.Module] = set()
    for unit in [*units_of(model), model]:
        _receive([each for each in unit.modules() if each not in received], ranks, device)
        received.update(unit.modules())
        sharded: Any = fully_shard(unit, mesh=mesh, reshard_after_forward=True)
        sharded.set_gradient_divide_factor(1.0)  # the shares of the loss are those of a sum
        sharded.set_force_sum_reduction_for_comms(True)  # gloo has no other
    ranks.begin(model)


def no_writing(model: nn.Module) -> None:
    """Let no layer write its output into its input, which another unit may have returned."""
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]


@torch.no_grad()
def _receive(modules: list[nn.Module], ranks: ShardedRanks, device: torch.device) -> None:
    """Replace the modules' own tensors by those of rank 0."""
    received: dict[Tensor, Tensor] = {}  # one that two modules share, once

    def from_first(own: Tensor) -> Tensor:
        if own not in received:
            sent = own.detach() if ranks.rank == 0 else None
            copied = ranks.copied_from_first(sent, own, device)
            is_parameter = isinstance(own, nn.Parameter)
            received[own] = nn.Parameter(copied, own.requires_grad) if is_parameter else copied
        return received[own]

    for module in modules:
        owned: dict[str, Tensor | None] = {**module._parameters, **module._buffers}
        for name, own in owned.items():
            if own is not None:
                setattr(module, name, from_first(own))


def layer_gradients(model: nn.Module, ranks: Ranks) -> LayerGradients:
    """Return the gradients of a model by layer, of all of each weight."""
    if isinstance(ranks, ShardedRanks):
        return ShardGradients(model, ranks)
    return LayerGradients(model)


def average_of(model: nn.Module, decay: float, ranks: Ranks) -> AveragedWeights:
    """Return the average of a model's weights, or of this rank's part of them."""
    if isinstance(ranks, ShardedRanks):
        return ShardedAverage(model, decay, ranks)
    return AveragedWeights(model, decay)


def optimizer_on_parts(optimizer: torch.optim.Optimizer, ranks: Ranks) -> torch.optim.Optimizer:
    """Let an optimizer of the model's parameters update the parts of this rank; return it."""
    if not isinstance(ranks, ShardedRanks):
        return optimizer
    for group in optimizer.param_groups:
        group["params"] = [ranks.parts[each] for each in group["params"]]
    begun, optimizer.state = optimizer.state, defaultdict(dict)
    for whole, entries in begun.items():
        parts = {name: ranks.part(each) for name, each in entries.items()}
        optimizer.state[ranks.part(whole)] = parts
    return optimizer


class ShardedOptimizerState(OptimizerState):
    """An optimizer's entries, those of each element as parts of whole tensors."""

    def __init__(self, optimizer: torch.optim.Optimizer, ranks: ShardedRanks) -> None:
        super().__init__(optimizer)
        self.ranks = ranks

    def state(self) -> Tree:
        """Return its entries."""
        return {
            number: {name: self._as_shard(int(number), each) for name, each in entries.items()}
            for number, entries in super().state().items()
        }

    def restore(self, state: Tree) -> None:
        """Load the entries of an optimizer of the same kind and the same parameters."""
        super().restore(
            {
                number: {name: self._part(each) for name, each in mapping(entries).items()}
                for number, entries in mapping(state).items()
            }
        )

    def _as_shard(self, number: int, entry: Any) -> Any:
        part = parameters_of(self.optimizer)[number]
        if not isinstance(entry, Tensor) or entry.shape != part.shape:
            return entry
        return as_shard(entry, self.ranks.wholes[part])

    def _part(self, entry: Any) -> Any:
        return self.ranks.part(entry) if isinstance(entry, Tensor) else entry


def optimizer_state(optimizer: torch.optim.Optimizer, ranks: Ranks) -> OptimizerState:
    """Return the state of an optimizer, for checkpoints."""
    if isinstance(ranks, ShardedRanks):
        return ShardedOptimizerState(optimizer, ranks)
    return OptimizerState(optimizer)


class ShardedAverage(AveragedWeights):
    """An average of which this rank holds its parts."""

    def __init__(self, model: nn.Module, decay: float, ranks: ShardedRanks) -> None:
        self.ranks = ranks
        super().__init__(model, decay, ranks.part)

    def tensors(self) -> dict[str, Tensor]:
        """Return the average under the names of `model.state_dict()`."""
        lives = self.model.state_dict(keep_vars=True)
        return {
            name: as_shard(average, lives[name]) if is_shard(lives[name]) else average
            for name, average in super().tensors().items()
        }

    def restore(self, state: Tree) -> None:
        """Continue from a `state`; raises ValueError for one of another model."""
        held = dict(mapping(state))
        given = mapping(held.get("tensors"))
        super().restore({**held, "tensors": {k: self.ranks.part(v) for k, v in given.items()}})
