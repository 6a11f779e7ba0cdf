"""Measure the training step of configs/troubles/cost.yaml, changed in ways that make it cheaper.

python scripts/lesson_of_cost.py [--turns 15]

Writes the table of docs/lessons/cost.md. The steps are those of `fit`, interleaved in one process
on one thread; the times of a turn are of as many samples for each change.
"""

import argparse
import shlex
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch

from bptrain.bench.paired import Timings, machine, median_and_quartiles, time_in_turns
from bptrain.bench.step_memory import peak_on_cpu
from bptrain.bench.workload_table import write_section
from bptrain.config import load_config
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.train.loop import StepReport, fit

ROOT = Path(__file__).parent.parent
CONFIG, PAGE = ROOT / "configs" / "troubles" / "cost.yaml", ROOT / "docs" / "lessons" / "cost.md"
BEGIN, END = "<!-- run cost -->", "<!-- end of cost -->"
SAMPLES = 512  # of a turn
TAPE = ["engine=tape"]
CHANGES = [
    [],
    TAPE,
    [*TAPE, "train.checkpointing=blocks"],
    [*TAPE, "train.checkpointing=sqrt"],
    [*TAPE, "data.batch_size=64", "train.grad_accum_steps=4"],
    [*TAPE, "data.batch_size=32"],
]
WARM_UP = 3  # steps: the tape records the first one and compares it with autograd's


def steps_of(changes: list[str]) -> tuple[Iterator[StepReport], int]:
    """Return endless training steps of the config with changes, and how many make a turn."""
    planned = plan(load_config(ExperimentConfig, CONFIG, [*changes, "device=cpu"]))
    experiment = build(planned)
    steps = fit(experiment.engine, experiment.batches, experiment.update, 10**9)
    next(islice(steps, WARM_UP - 1, None))
    config = planned.config
    return steps, SAMPLES // (config.batch_size * config.train.grad_accum_steps)


def turn(steps: Iterator[StepReport], count: int) -> Callable[[], object]:
    """Return what takes so many steps."""
    return lambda: next(islice(steps, count - 1, None))


def row(changes: list[str], name: str, timings: Timings, peak: int) -> str:
    """Return a row of the table."""
    shown = f"`{shlex.join(changes)}`" if changes else "as it is"
    ratios = [1 / each for each in timings.ratios(name, "as it is")]
    return f"| {shown} | {peak / 1e6:.1f} MB | {median_and_quartiles(ratios)} |"


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=15)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    named = {shlex.join(changes) or "as it is": steps_of(changes) for changes in CHANGES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peaks = {name: peak_on_cpu(turn(steps, 1)) for name, (steps, _) in named.items()}
    timings = time_in_turns({name: turn(*each) for name, each in named.items()}, turns)
    rows = [
        row(changes, name, timings, peaks[name])
        for changes, name in zip(CHANGES, named, strict=True)
    ]
    section = "\n".join(
        [
            "| change | peak memory of a step | time of a sample, as it is = 1 |",
            "|---|---:|---:|",
            *rows,
            "",
            f"Median and quartiles of {turns} turns of {SAMPLES:,} samples, interleaved, one "
            f"thread; the peak is what torch's allocator holds above weights and data. "
            f"{machine()}.",
        ]
    )
    write_section(PAGE, section, BEGIN, END)
    print(section)


if __name__ == "__main__":
    main()
