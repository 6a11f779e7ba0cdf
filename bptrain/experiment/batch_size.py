"""`data.batch_size: auto`: the largest batch, a power of two, whose training step fits in memory.

On a CPU the memory of a run's first steps is measured with two small batches, a constant and a part
for each sample, and then with the batch that follows from them. On a GPU steps are tried, with
half the batch where the memory is used up: nothing else shows what its libraries take.
"""

import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import torch

from bptrain.bench.step_memory import peak_on_cpu
from bptrain.data import Dataset
from bptrain.errors import DataError, MemoryExhaustedError
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import Plan, plan, plan_of, resolve_device, serve
from bptrain.free_memory import format_bytes
from bptrain.train.loop import fit
from bptrain.train.memory import available_bytes

CPU_SHARE = 0.5  # of the free memory that a run may take, which other programs need too
GPU_SHARE = 0.9  # the rest is for evaluation, for monitoring, and lost between blocks
STEPS = 2  # the first one is recorded and compared, and makes the optimizer's state
MEASURED = 32  # samples of the larger of two batches


class Found(NamedTuple):
    """A batch size, and why it is no larger."""

    batch_size: int
    why: str


def plan_for_training(config: ExperimentConfig) -> Plan:
    """Return the plan of a config, with a number for a batch size that is auto."""
    if config.data.batch_size != "auto":
        return plan(config)
    device, dataset = resolve_device(config.device), config.data.build(config.seed)
    limit = largest_there_is(config, dataset)
    with torch.random.fork_rng():
        if device.type == "cuda":
            found = by_trying(config, dataset, device, limit)
        else:
            found = by_measuring(config, dataset, limit)
    made = plan_of(with_batch_size(config, found.batch_size), device, dataset)
    return replace(made, batch_size_note=f"batch_size auto: {found.batch_size:,}, {found.why}")


def with_batch_size(config: ExperimentConfig, batch_size: int) -> ExperimentConfig:
    """Return the config with a batch size."""
    data = config.data.model_copy(update={"batch_size": batch_size})
    return config.model_copy(update={"data": data})


def largest_there_is(config: ExperimentConfig, dataset: Dataset) -> int:
    """Return the largest power of two of which the training samples fill a batch."""
    size: int = 1 << (len(dataset.train).bit_length() - 1)
    while size > 1:
        with suppress(DataError):  # a text is too short for so many streams
            serve(with_batch_size(config, size), dataset.train, config.seed)
            return size
        size //= 2
    return 1


def by_measuring(config: ExperimentConfig, dataset: Dataset, limit: int) -> Found:
    """Return the largest batch that the memory of small ones lets expect, and that keeps to it.

    It is measured too: from some size on another kernel may take more.
    """
    free = available_bytes(torch.device("cpu"))
    taken: dict[int, float] = {}

    def measured(size: int) -> float:
        if size not in taken:
            taken[size] = memory_of(plan_with(config, dataset, size))
        return taken[size]

    small, large = max(1, min(limit, MEASURED) // 2), min(limit, MEASURED)
    each = max(0.0, (measured(large) - measured(small)) / max(1, large - small))
    fixed = measured(large) - each * large
    expected = halved(limit, lambda size: fixed + each * size <= CPU_SHARE * free)
    size = halved(expected, lambda size: measured(size) <= CPU_SHARE * free)
    return Found(size, reason(size, limit, taken[size], free, CPU_SHARE))


def by_trying(
    config: ExperimentConfig, dataset: Dataset, device: torch.device, limit: int
) -> Found:
    """Return the largest batch with which steps run on a GPU."""
    free = available_bytes(device)
    taken: dict[int, int] = {}

    def fits(size: int) -> bool:
        candidate = plan_with(config, dataset, size)
        if candidate.memory.total > GPU_SHARE * free:
            return False
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_reserved(device)
        try:
            take_steps(candidate)
        except torch.OutOfMemoryError:
            return False
        taken[size] = torch.cuda.max_memory_reserved(device) - before
        return taken[size] <= GPU_SHARE * free

    size = halved(limit, fits)
    torch.cuda.empty_cache()
    return Found(size, reason(size, limit, taken[size], free, GPU_SHARE))


def halved(limit: int, fits: Callable[[int], bool]) -> int:
    """Return the first of limit, limit / 2, ... that fits; raise MemoryExhaustedError for none."""
    size = limit
    while size and not fits(size):
        size //= 2
    if size == 0:
        raise MemoryExhaustedError.of("a training step with one sample does not fit")
    return size


def reason(size: int, limit: int, taken: float, free: int, share: float) -> str:
    """Return why a batch is no larger: the data, or a share of the free memory."""
    measured = f"a step took {format_bytes(taken)} of {format_bytes(free)} free"
    if size == limit:
        return f"the largest power of two that the training samples fill; {measured}"
    return f"{measured}; twice as many samples would take more than {share:.0%} of it"


def plan_with(config: ExperimentConfig, dataset: Dataset, batch_size: int) -> Plan:
    """Return the plan with a batch size, for a few steps."""
    return plan_of(with_batch_size(config, batch_size), resolve_device(config.device), dataset)


def memory_of(made: Plan) -> int:
    """Return the most bytes that a run's first steps take at a time, on the CPU."""
    gc.collect()  # what earlier steps left in cycles would be freed meanwhile, and count as less
    return peak_on_cpu(lambda: take_steps(made))


def take_steps(made: Plan) -> None:
    """Take a run's first steps, and forget what they made."""
    experiment = build(made)
    for _ in fit(experiment.engine, experiment.batches, experiment.update, STEPS):
        pass
