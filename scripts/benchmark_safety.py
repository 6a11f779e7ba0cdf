"""Print the cost of the checks for NaN, and of saving a state, relative to the training itself.

python scripts/benchmark_safety.py DATA     (DATA holds MNIST/raw/*.gz and tinyshakespeare.txt)

One thread, in seconds of CPU time, which other processes on the machine lengthen least. Steps with
and without the check are timed in turns of a few milliseconds, in alternating order.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from torch import Tensor

from bptrain.bench.paired import machine, median_and_quartiles
from bptrain.config import load_config
from bptrain.experiment.build import Experiment, build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.non_finite import refuse_state, refuse_steps
from bptrain.experiment.plan import plan
from bptrain.experiment.session import Session
from bptrain.experiment.training import log_of
from bptrain.tape.layer_gradients import LayerGradients
from bptrain.tasks.task import NoMetric
from bptrain.train.evaluate import StepWindow
from bptrain.train.loop import Position, StepReport, fit
from bptrain.train.signals import StopRequest

CONFIGS = Path(__file__).parent.parent / "configs"
MEASURED = {  # config: where its data is, and the steps of a turn
    "digits_mlp": ("", 20),
    "mnist_mlp": ("data.root={data}", 10),
    "mnist_cnn": ("data.root={data}", 2),
    "shakespeare_lstm": ("data.path={data}/tinyshakespeare.txt", 1),
}
WARM_UP = 3


class NoNorms(LayerGradients):
    """Layer gradients without norms: the check is off."""

    def norms(self) -> Tensor:
        """Return a constant."""
        return self.nothing

    nothing = torch.zeros(1)


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    started_s = time.process_time()
    work()
    return time.process_time() - started_s


class Training:
    """The steps of a config, with the check or without it."""

    def __init__(self, experiment: Experiment, steps: int) -> None:
        self.experiment, self.steps = experiment, steps
        self.gradients = {
            True: experiment.update.gradients,
            False: NoNorms(experiment.model),
        }
        self.window = StepWindow(NoMetric())
        self.reports = self.endless()

    def endless(self) -> Iterator[StepReport]:
        """Yield the reports of steps without end."""
        e = self.experiment
        while True:
            yield from fit(e.model, e.loss_function, e.batches, e.update, e.total_steps)

    def turn(self, is_checked: bool) -> float:
        """Return the CPU time of a step, over some steps."""
        self.experiment.update.gradients = self.gradients[is_checked]
        return cpu_s(lambda: self.take(is_checked)) / self.steps

    def take(self, is_checked: bool) -> None:
        """Take the steps of a turn; with the check on, check all of them at the end."""
        for _ in range(self.steps):
            report = next(self.reports)
            if is_checked:
                self.window.add(report)
        if is_checked:
            self.check()

    def check(self) -> None:
        """Check the window's steps for NaN, and start the next window."""
        refuse_steps(self.experiment.update, self.window.read(), self.steps)
        self.window.restart()

    def check_alone_s(self) -> float:
        """Return the CPU time of the check per step, measured without the step."""
        self.experiment.update.gradients = self.gradients[True]
        report = next(self.reports)

        def check() -> None:
            for _ in range(self.steps):
                self.gradients[True].norms()
                self.window.add(report)
            self.check()

        check()
        rounds = max(1, 100 // self.steps)
        return median(cpu_s(check) for _ in range(rounds)) / self.steps


def saving_s(experiment: Experiment, saves: int) -> dict[str, list[float]]:
    """Return CPU and wall time of checkpoints, and the CPU time of the check of their state."""
    seconds: dict[str, list[float]] = {"cpu": [], "wall": [], "check": []}
    with TemporaryDirectory(prefix="bptrain-") as name, Path(os.devnull).open("w") as nowhere:
        folder = Path(name)
        (folder / "tensorboard").mkdir()
        with log_of(experiment, folder, Console(file=nowhere)) as log:
            session = Session(experiment, folder / "checkpoints", log, StopRequest())
            log.begin()
            for number in range(saves + WARM_UP):
                session.progress.position = Position(step=number)
                state = session.state({})
                check = cpu_s(lambda state=state: refuse_state(experiment, state))  # type: ignore[misc]
                started_s = time.perf_counter()
                cpu = cpu_s(lambda: session.save({}))
                wall = time.perf_counter() - started_s
                if number >= WARM_UP:
                    for what, took in (("cpu", cpu), ("wall", wall), ("check", check)):
                        seconds[what].append(took)
    return seconds


def main() -> None:
    """Measure each config and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=60, help="of CPU time for each config")
    parser.add_argument("--saves", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}\n", flush=True)
    finding = ["| config | a step, ms | the check alone, us | of the step | with over without |"]
    saving = ["| config | a save, ms | waiting for the disk too | the look, ms | of an epoch |"]
    for name, (place, steps) in MEASURED.items():
        words = [place.format(data=given.data.resolve())] if place else []
        experiment = build(plan(load_config(ExperimentConfig, CONFIGS / f"{name}.yaml", words)))
        training = Training(experiment, steps)
        pairs = measure(training, given.seconds)
        step_s = median(without for _, without in pairs)
        alone_s = training.check_alone_s()
        ratio = median_and_quartiles([checked / without for checked, without in pairs])
        share = f"{alone_s / step_s:.2%}"
        finding.append(f"| {name} | {1e3 * step_s:.3g} | {1e6 * alone_s:.3g} | {share} | {ratio} |")
        took = {what: median(each) for what, each in saving_s(experiment, given.saves).items()}
        epoch = f"{took['cpu'] / (step_s * experiment.steps_per_epoch):.2%}"
        times = " | ".join(f"{1e3 * took[what]:.3g}" for what in ("cpu", "wall", "check"))
        saving.append(f"| {name} | {times} | {epoch} |")
    for table in (finding, saving):
        table.insert(1, "|---" * (table[0].count("|") - 1) + "|")
        print("\n".join(table), end="\n\n")


def measure(training: Training, seconds: float) -> list[tuple[float, float]]:
    """Return the CPU time of a step with the check and without it, turn by turn."""
    pairs: list[tuple[float, float]] = []
    ends_s = time.process_time() + seconds
    while time.process_time() < ends_s or len(pairs) < WARM_UP + 2:
        order = (True, False) if len(pairs) % 2 else (False, True)
        took = {is_checked: training.turn(is_checked) for is_checked in order}
        pairs.append((took[True], took[False]))
    return pairs[WARM_UP:]


if __name__ == "__main__":
    main()
