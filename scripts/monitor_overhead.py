"""Measure what an observed step costs, and write the table of docs/benchmarks.md.

python scripts/monitor_overhead.py [--turns 40] [--print]
"""

import argparse
import os
import sys
import tempfile
from functools import partial
from io import StringIO
from math import ceil
from pathlib import Path
from statistics import median

from rich.console import Console

from bptrain.bench.paired import machine, median_and_quartiles, time_in_turns
from bptrain.bench.workload_table import write_section
from bptrain.config import load_config
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.experiment.session import Session
from bptrain.experiment.training import log_of
from bptrain.monitor.step_monitor import COST, Level, cost_of
from bptrain.train.signals import StopRequest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BEGIN, END = "<!-- written by scripts/monitor_overhead.py -->", "<!-- end of monitor_overhead -->"
NETWORKS = {
    "MLP": ["digits_mlp.yaml", "model.hidden=[512, 512]", "data.batch_size=128"],
    "CNN": ["digits_cnn.yaml", "data.batch_size=128"],
    "MLP of 20 small layers": [
        "digits_mlp.yaml",
        f"model.hidden={[32] * 20}",
        "data.batch_size=32",
    ],
    "CNN, group norm, batch 16": [
        "digits_cnn.yaml",
        "data.batch_size=16",
        "model.normalization=group",
    ],
    "ResNet": [
        "digits_cnn.yaml",
        "model={kind: cnn, preset: resnet, depth: 20}",
        "data.batch_size=32",
    ],
    "LSTM": ["adding_lstm.yaml", "data.length=100", "data.batch_size=64", "model.hidden=64"],
}
SECTION = """\
## What monitoring costs

`python scripts/monitor_overhead.py`: steps that are observed and steps that are not, in turns in
one process. An observed step takes *cost* times the time of another one longer. With the default
`monitor.max_overhead` of 3 %, at least *interval* steps lie between two observed ones, so that
monitoring takes at most *share* of the time; less where fewer steps are logged.

{machine}; median and quartiles of {turns} turns; load average at the end
{load} on {processors} processors: the more other work runs on them, the farther apart the
quartiles.

| network | level | step, ms | cost | interval | share |
|---|---|---|---|---|---|
{rows}"""


class Steps:
    """The steps of a run, each of which is observed or not, as asked for."""

    def __init__(self, session: Session) -> None:
        self.session, self.steps = session, session._steps()

    def take(self, is_observed: bool) -> None:
        """Take a step."""
        self.session.monitor.interval = 1 if is_observed else 2**60
        report = next(self.steps)
        self.session.progress.position = report.position
        self.session.monitor.forget()


def measure(name: str, level: Level, turns: int, directory: Path) -> str:
    """Return the row of a network."""
    config, *words = NETWORKS[name]
    words += [f"monitor.level={level}", "monitor.log_every=1", f"train.steps={4 * turns + 50}"]
    experiment = build(plan(load_config(ExperimentConfig, ROOT / "configs" / config, words)))
    log = log_of(experiment, directory, Console(file=StringIO()))
    steps = Steps(Session(experiment, directory / "checkpoints", log, StopRequest()))
    alternatives = {"plain": partial(steps.take, False), "observed": partial(steps.take, True)}
    timings = time_in_turns(alternatives, turns)
    costs = [ratio - 1 for ratio in timings.ratios("plain", to="observed")]
    interval = ceil(cost_of(experiment.model, experiment.update.gradients, level) / 0.03)
    plain_ms = 1e3 * median(timings.seconds["plain"])
    share = median(costs) / interval
    cost = median_and_quartiles(costs)
    return f"| {name} | {level} | {plain_ms:.1f} | {cost} | {interval} | {share:.1%} |"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--print", action="store_true", help="leave docs/ as it is")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for name in NETWORKS:
            for level in COST:
                rows.append(measure(name, level, given.turns, Path(directory)))
                print(rows[-1], file=sys.stderr, flush=True)
    section = SECTION.format(
        machine=machine(),
        turns=given.turns,
        load=f"{os.getloadavg()[0]:.1f}",
        processors=os.cpu_count(),
        rows="\n".join(rows),
    )
    print(section)
    if not given.print:
        write_section(DOCS / "benchmarks.md", section, BEGIN, END)


if __name__ == "__main__":
    main()
