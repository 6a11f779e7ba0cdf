"""The loop of a search: start runs, watch their metric, prune, store what became of them.

Each run is a process of its own, so that one that crashes, or takes all memory, fails alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bptrain.errors import UsageError, shorten
from bptrain.experiment.search.curve import Curve
from bptrain.experiment.search.trial import Trial
from bptrain.train.signals import StopRequest

if TYPE_CHECKING:
    from bptrain.experiment.search.study import Study  # which imports Optuna

POLL_S = 0.1
LOG_BYTES = 4096  # of a log's end, in which its error is looked for


class RunFiles(NamedTuple):
    """The files of one run: its config, its folder, and what it prints."""

    config: Path
    run_dir: Path
    log: Path


class Process(Protocol):
    """A run that is being trained, or waits for its folder."""

    def poll(self) -> int | None:
        """Return the exit code, None before the end."""
        ...

    def stop(self) -> None:
        """Ask it to save a checkpoint and end."""
        ...


@dataclass
class Job:
    """A run of a trial in progress.

    seed          counted from 0
    slot          counted from 0: two jobs at the same time have two
    pruned_after  validations, 0 where it is not pruned
    """

    trial: Trial
    seed: int
    slot: int
    files: RunFiles
    process: Process
    curve: Curve
    pruned_after: int = 0


@dataclass(frozen=True)
class Sweep:
    """A search in progress.

    seeds       runs of each trial
    at_once     how many runs there are at a time
    files_of    the files of a trial's run with a seed; writes its config
    start       starts a run, or resumes it
    tell        prints a line
    begun       trials that have runs to come
    jobs        runs in progress
    """

    study: "Study"
    metric: str
    larger_is_better: bool
    seeds: int
    at_once: int
    files_of: Callable[[Trial, int], RunFiles]
    start: Callable[[RunFiles, int], Process]
    tell: Callable[[str], None]
    begun: list[Trial] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def run(self, stop: StopRequest) -> None:
        """Train all trials, or until a stop is requested: then the runs in progress are saved."""
        self.begun.extend(self.study.unfinished())
        try:
            self._train(stop)
        except BaseException:
            for job in self.jobs:
                job.process.stop()
            raise
        self._end_all()

    def _train(self, stop: StopRequest) -> None:
        while stop.signal_number is None:
            while len(self.jobs) < self.at_once:
                trial = self.begun.pop(0) if self.begun else self.study.next()
                if trial is None:
                    break
                self._begin(trial)
            if not self.jobs:
                return
            time.sleep(POLL_S)
            self._look()

    def _end_all(self) -> None:
        """Ask what runs to save and end, and wait for it; the trials remain to be continued."""
        for job in self.jobs:
            job.process.stop()
        while self.jobs:
            time.sleep(POLL_S)
            for job, exit_code in self._ended():
                if exit_code == 0 or job.pruned_after:
                    self._conclude(job, exit_code)

    def _begin(self, trial: Trial) -> None:
        """Start or resume the first run of a trial that has no result."""
        seed = len(trial.results)
        try:
            files = self.files_of(trial, seed)
        except UsageError as error:  # values that do not fit together
            self._fail(trial, error.exit_code, shorten(str(error)))
            return
        slot = min({*range(self.at_once)} - {job.slot for job in self.jobs})
        curve = Curve(files.run_dir, self.metric)
        self.jobs.append(Job(trial, seed, slot, files, self.start(files, slot), curve))
        of_seed = f", seed {seed + 1} of {self.seeds}" if self.seeds > 1 else ""
        words = " ".join(self.study.space.words(trial.values))
        self.tell(f"trial {trial.number}{of_seed}: {words}")

    def _look(self) -> None:
        """Prune what is worse than others, and conclude what has ended."""
        for job in self.jobs:
            if job.seed > 0 or job.pruned_after:
                continue
            values = job.curve.read()
            if self.study.report(job.trial, values):
                job.pruned_after = len(values)
                job.process.stop()
        for job, exit_code in self._ended():
            self._conclude(job, exit_code)

    def _ended(self) -> Iterator[tuple[Job, int]]:
        """Yield the jobs that have ended, which are in progress no more, with their exit codes."""
        for job in list(self.jobs):
            exit_code = job.process.poll()
            if exit_code is not None:
                self.jobs.remove(job)
                yield job, exit_code

    def _conclude(self, job: Job, exit_code: int) -> None:
        """Store what became of a run, and begin the trial's next one."""
        trial, values = job.trial, job.curve.read(at_once=True)
        if exit_code != 0 and job.pruned_after:
            self.study.prune(trial)
            self.tell(f"trial {trial.number}: pruned after validation {job.pruned_after}")
        elif exit_code != 0 or not values:
            why = error_in(job.files.log) if exit_code != 0 else f"it logged no {self.metric}"
            self._fail(trial, exit_code, why)
        else:
            best = max(values) if self.larger_is_better else min(values)
            trial = replace(trial, results=[*trial.results, best])
            if len(trial.results) < self.seeds:
                self.study.keep(trial)
                self.begun.insert(0, trial)
                return
            self.study.finish(trial)
            self.tell(f"trial {trial.number}: {self.metric} {with_spread(trial)}")

    def _fail(self, trial: Trial, exit_code: int, why: str) -> None:
        self.study.fail(trial, exit_code, why)
        self.tell(f"trial {trial.number}: failed with exit code {exit_code}: {why}")


def with_spread(trial: Trial) -> str:
    """Return a trial's mean, and the standard deviation over its seeds where there are several."""
    spread = "" if trial.spread is None else f" ± {trial.spread:.2g}"
    return f"{trial.mean:.5g}{spread}" if trial.results else ""


def error_in(log: Path) -> str:
    """Return the error that a run printed last, "" if there is none."""
    text = ""
    with suppress(OSError):
        text = log.read_bytes()[-LOG_BYTES:].decode(errors="replace")
    said = [line for line in text.splitlines() if line.startswith("error: ")]
    return said[-1].removeprefix("error: ") if said else ""
