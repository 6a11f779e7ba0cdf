"""The model of a run whose processes share its weights: drawn by rank 0, divided among all."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from bptrain.experiment.plan import Plan
from bptrain.train.memory import MemoryEstimate, refuse_if_too_large
from bptrain.train.sharding import bytes_of, divide, units_of
from bptrain.train.shards import ShardedRanks

GATHERED = 2  # units that are whole at once: the next one comes while one computes


def sharded_model(
    plan: Plan, ranks: ShardedRanks, change: Callable[[nn.Module], None] | None
) -> nn.Module:
    """Return the model, divided among the processes; rank 0 draws its weights on the CPU.

    change  is called with rank 0's model before, such as to load weights into it

    Raises UsageError before anything is allocated on a device that it does not fit.
    """
    config, problem = plan.config, plan.dataset.problem
    model = config.model.build(problem, torch.device("meta"))
    refuse_if_too_large(memory_of_part(plan, model), plan.device)
    if ranks.rank == 0:
        torch.manual_seed(config.seed)
        model = config.model.build(problem, torch.device("cpu"))
        if change is not None:
            change(model)
    divide(model, ranks, plan.device)
    return model


def memory_of_part(plan: Plan, model: nn.Module) -> MemoryEstimate:
    """Return the memory of a process that holds its part of the model, and few units whole."""
    whole, count = plan.memory, plan.ranks.count
    units = units_of(model)
    rest = bytes_of(model) - sum(map(bytes_of, units))
    gathered = GATHERED * max([rest, *map(bytes_of, units)])
    return replace(
        whole,
        parameters=whole.parameters // count + gathered,
        gradients=whole.gradients // count,
        optimizer=whole.optimizer // count,
    )
