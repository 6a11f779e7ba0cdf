"""How a step's time and memory grow with the batch, the width, the depth and the time steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from bptrain import nn
from bptrain.bench.chart import draw_panels
from bptrain.bench.engines import alternatives
from bptrain.bench.paired import time_in_turns
from bptrain.bench.power_law import PowerLaw, fit_power_law
from bptrain.bench.step import steps_a_turn
from bptrain.bench.step_memory import kept_bytes, peak_bytes
from bptrain.bench.workloads import PLAIN, Made, Workload, mlp, recurrent
from bptrain.train.precision import Precision

BYTES_A_MB = 1e6
COSTS = {"step": "ms", "kept": "MB", "peak": "MB"}


@dataclass(frozen=True)
class Sweep:
    """One size of a network that grows while the others stay.

    what   is measured, as the tables and charts call it
    axis   what grows
    make   size -> model, loss and batch
    """

    what: str
    axis: str
    sizes: tuple[int, ...]
    make: Callable[[int], Made]


SWEEPS = (
    Sweep(
        "MLP 784-256-256-10", "batch", (32, 64, 128, 256, 512, 1024), lambda n: mlp(n, (256, 256))
    ),
    Sweep("MLP, batch 64", "width", (64, 128, 256, 512, 1024), lambda n: mlp(64, (n, n))),
    Sweep("MLP of width 256, batch 64", "depth", (2, 4, 8, 16, 32), lambda n: mlp(64, (256,) * n)),
    Sweep(
        "LSTM 64-128, batch 32",
        "time steps",
        (16, 32, 64, 128, 256),
        lambda n: recurrent(nn.LSTM, n, 32, (64, 128)),
    ),
)


@dataclass(frozen=True)
class Curve:
    """A cost of one alternative at each size, and the power law fitted to it.

    cost  a key of COSTS
    """

    alternative: str
    cost: str
    values: list[float]
    law: PowerLaw


def measure_sweep(sweep: Sweep, turns: int) -> list[Curve]:
    """Return the curves of every engine of ours and of torch.nn."""
    values: dict[tuple[str, str], list[float]] = {}
    for size in sweep.sizes:
        for key, value in _costs_at(sweep, size, turns).items():
            values.setdefault(key, []).append(value)
    sizes = [float(each) for each in sweep.sizes]
    return [
        Curve(name, cost, found, fit_power_law(sizes, found))
        for (name, cost), found in values.items()
        if len(found) == len(sizes)
    ]


def _costs_at(sweep: Sweep, size: int, turns: int) -> dict[tuple[str, str], float]:
    """Return each cost of each alternative by both names."""
    made = Workload(sweep.what, lambda: sweep.make(size), PLAIN, "")
    subject = made.subject(Precision(torch.float32, torch.device("cpu")))
    found, _ = alternatives(subject, with_compiler=False)
    steps = steps_a_turn(found[0])
    work = {each.name: each.repeated(steps) for each in found}
    timings = time_in_turns(work, turns, {each.name: each.run for each in found})
    costs = {}
    for side in found:
        costs[side.name, "step"] = 1e3 * median(timings.seconds[side.name]) / steps
        costs[side.name, "kept"] = kept_bytes(side) / BYTES_A_MB
        costs[side.name, "peak"] = peak_bytes(side) / BYTES_A_MB
    return costs


def table_of(found: Sequence[tuple[Sweep, list[Curve]]]) -> str:
    """Return the exponents, and the costs at both ends, as Markdown."""
    lines = ["| network | grows | alternative | step | kept | peak |", "|---|---|---|---|---|---|"]
    for sweep, curves in found:
        for name in dict.fromkeys(curve.alternative for curve in curves):
            own = [curve for curve in curves if curve.alternative == name]
            span = f"{sweep.axis} {sweep.sizes[0]} to {sweep.sizes[-1]}"
            cells = " | ".join(
                f"{each.law.exponent:.2f} ({each.values[0]:.3g} to {each.values[-1]:.3g} "
                f"{COSTS[each.cost]})"
                for each in own
            )
            lines.append(f"| {sweep.what} | {span} | {name} | {cells} |")
    return "\n".join(lines)


def draw(found: Sequence[tuple[Sweep, list[Curve]]], path: Path) -> None:
    """Write a chart: a column for each sweep, above its time and below its memory."""
    panels = []
    for cost, label in (("step", "ms a step"), ("peak", "peak memory, MB")):
        for sweep, curves in found:
            drawn = {c.alternative: (c.values, c.law) for c in curves if c.cost == cost}
            panels.append((sweep.sizes, drawn, (sweep.what, sweep.axis, label)))
    draw_panels(panels, len(found), path)
