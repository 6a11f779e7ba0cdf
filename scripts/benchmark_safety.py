"""Print what guarding steps against NaN and saving a state cost, beside the training itself.

python scripts/benchmark_safety.py DATA     (DATA holds MNIST/raw/*.gz and tinyshakespeare.txt)

One thread, in seconds of CPU time, which other processes on the machine lengthen least. Steps with
and without the guard are timed in turns of a few milliseconds, in alternating order. The guard is
all that `Session.run` adds to a step for it: where a step begins is kept, norms and loss are looked
at before the update, recorded, and examined at the end of the turn, as at a log line.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TextIO

import torch
from rich.console import Console
from torch import Tensor

from bptrain.bench.paired import machine, median_and_quartiles
from bptrain.config import load_config
from bptrain.experiment.build import Experiment, build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.non_finite import refuse_state
from bptrain.experiment.plan import plan
from bptrain.experiment.session import Session
from bptrain.experiment.step_guard import StepGuard
from bptrain.experiment.training import log_of
from bptrain.tape.layer_gradients import LayerGradients
from bptrain.tasks.task import NoMetric
from bptrain.train.evaluate import StepWindow
from bptrain.train.loop import BEGINNING, Position, StepReport, fit
from bptrain.train.signals import StopRequest
from bptrain.train.withholding import Withholding

CONFIGS = Path(__file__).parent.parent / "configs"
MEASURED = {  # config: where its data is, and the steps of a turn
    "digits_mlp": ("", 20),
    "mnist_mlp": ("data.root={data}", 10),
    "mnist_cnn": ("data.root={data}", 2),
    "shakespeare_lstm": ("data.path={data}/tinyshakespeare.txt", 1),
}
WARM_UP = 3
HEADS = (
    "| config | a step, ms | the check alone, us | of the step | ratio with / without |",
    "| config | a save, ms | waiting for the disk too | the check, ms | of an epoch |",
)


class NoNorms(LayerGradients):
    """Layer gradients without norms."""

    def norms(self) -> Tensor:
        """Return a constant."""
        return self.nothing

    nothing = torch.zeros(1)


class NeverWithheld(Withholding):
    """A withholding that looks at nothing, and lets every step update."""

    def see_loss(self, loss: Tensor) -> None:
        """Do not look at the loss."""

    def see_norms(self, norms: Tensor) -> None:
        """Do not look at the norms."""

    @property
    def withheld(self) -> Tensor:
        """A constant."""
        return self.never

    never = torch.zeros(())


class NoSums(NoMetric):
    """No metric; also where the engine does not return what a metric would read."""

    def sums_of_loss(self, loss: Tensor, weight: int) -> Tensor:
        """Return no sums [0]."""
        return loss.new_zeros(0, dtype=torch.float64)


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    started_s = time.process_time()
    work()
    return time.process_time() - started_s


class Training:
    """The steps of a config, guarded against numbers that are not finite or not."""

    def __init__(self, experiment: Experiment, steps: int, folder: Path, nowhere: TextIO) -> None:
        self.experiment, self.steps = experiment, steps
        self.position = BEGINNING
        update = experiment.update
        self.window = StepWindow(NoSums())
        log = log_of(experiment, folder, Console(file=nowhere))
        self.guard = StepGuard(experiment, folder, log, self.window)
        model = experiment.model
        self.parts: dict[bool, tuple[LayerGradients, Withholding]] = {
            True: (update.gradients, update.withholding),
            False: (NoNorms(model), NeverWithheld(experiment.device)),
        }
        self.reports = self.endless()

    def endless(self) -> Iterator[StepReport]:
        """Yield the reports of steps without end."""
        e = self.experiment
        while True:
            yield from fit(e.engine, e.batches, e.update, e.total_steps)

    def choose(self, is_guarded: bool) -> None:
        """Guard the next steps or do not."""
        update = self.experiment.update
        update.gradients, update.withholding = self.parts[is_guarded]

    def turn(self, is_guarded: bool) -> float:
        """Return the CPU time of a step, over some steps."""
        self.choose(is_guarded)
        return cpu_s(self.guarded if is_guarded else self.take) / self.steps

    def take(self) -> None:
        """Take the steps of a turn."""
        for _ in range(self.steps):
            self.position = next(self.reports).position

    def guarded(self) -> None:
        """Take the steps of a turn as `Session.run` does, and examine them at the end."""
        for _ in range(self.steps):
            self.guard.before_step(self.position, {})
            self.note(next(self.reports))
        self.examine()

    def note(self, report: StepReport) -> None:
        """Record a step that is guarded."""
        if self.guard.counts_in(report):
            self.window.add(report)
        self.position = report.position

    def examine(self) -> None:
        """Look for a step of the window that is not finite, and start the next window."""
        self.guard.examined(self.position.step, {})
        self.window.restart()

    def check_alone_s(self) -> float:
        """Return the CPU time of the check and guard per step, measured without the step."""
        self.choose(is_guarded=True)
        gradients, withholding = self.parts[True]
        report = next(self.reports)

        def check() -> None:
            for _ in range(self.steps):
                self.guard.before_step(self.position, {})
                withholding.begin()
                withholding.see_loss(report.loss)
                withholding.see_norms(gradients.norms()[1:])
                _ = withholding.withheld  # which the optimizer reads
                self.note(report)
            self.examine()

        check()
        rounds = max(1, 100 // self.steps)
        return median(cpu_s(check) for _ in range(rounds)) / self.steps


def saving_s(
    experiment: Experiment, saves: int, folder: Path, nowhere: TextIO
) -> dict[str, list[float]]:
    """Return CPU and wall time of checkpoints, and the CPU time of the check of their state."""
    seconds: dict[str, list[float]] = {"cpu": [], "wall": [], "check": []}
    (folder / "tensorboard").mkdir()
    with log_of(experiment, folder, Console(file=nowhere)) as log:
        session = Session(experiment, folder / "checkpoints", log, StopRequest())
        log.begin()
        for number in range(saves + WARM_UP):
            session.progress.position = Position(step=number)
            check = cpu_s(partial(refuse_state, experiment, session.state({})))
            started_s = time.perf_counter()
            cpu = cpu_s(partial(session.save, {}))
            wall = time.perf_counter() - started_s
            if number >= WARM_UP:
                for what, took in (("cpu", cpu), ("wall", wall), ("check", check)):
                    seconds[what].append(took)
    return seconds


def rows_of(name: str, given: argparse.Namespace) -> tuple[str, str]:
    """Return a config's row of both tables: what its steps cost, and its saves."""
    place, steps = MEASURED[name]
    words = [place.format(data=given.data.resolve())] if place else []
    experiment = build(plan(load_config(ExperimentConfig, CONFIGS / f"{name}.yaml", words)))
    with TemporaryDirectory(prefix="bptrain-") as folder, Path(os.devnull).open("w") as nowhere:
        training = Training(experiment, steps, Path(folder), nowhere)
        pairs = measure(training, given.seconds)
        step_s = median(without for _, without in pairs)
        alone_s = training.check_alone_s()
        saving = saving_s(experiment, given.saves, Path(folder), nowhere)
    ratio = median_and_quartiles([guarded / without for guarded, without in pairs])
    cells = [f"{1e3 * step_s:.3g}", f"{1e6 * alone_s:.3g}", f"{alone_s / step_s:.2%}", ratio]
    took = {what: median(each) for what, each in saving.items()}
    epoch = f"{took['cpu'] / (step_s * experiment.steps_per_epoch):.2%}"
    times = [f"{1e3 * took[what]:.3g}" for what in ("cpu", "wall", "check")]
    return f"| {name} | {' | '.join(cells)} |", f"| {name} | {' | '.join([*times, epoch])} |"


def measure(training: Training, seconds: float) -> list[tuple[float, float]]:
    """Return the CPU time of a step with the guard and without it, turn by turn."""
    pairs: list[tuple[float, float]] = []
    ends_s = time.process_time() + seconds
    while time.process_time() < ends_s or len(pairs) < WARM_UP + 2:
        order = (True, False) if len(pairs) % 2 else (False, True)
        took = {is_guarded: training.turn(is_guarded) for is_guarded in order}
        pairs.append((took[True], took[False]))
    return pairs[WARM_UP:]


def main() -> None:
    """Measure each config and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=60, help="of CPU time for each config")
    parser.add_argument("--saves", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}\n", flush=True)
    tables = zip(*(rows_of(name, given) for name in MEASURED), strict=True)
    for head, rows in zip(HEADS, tables, strict=True):
        print("\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows]), end="\n\n")


if __name__ == "__main__":
    main()
