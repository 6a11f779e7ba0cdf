"""`sweep`: runs of a config with other values, as a search proposes them, and the best of them."""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from bptrain.commands.sweep_table import as_json, table_of
from bptrain.commands.trial_process import TrialProcess, environment_of
from bptrain.config import load_config, to_yaml
from bptrain.config.yaml_tree import write
from bptrain.errors import InterruptedRun, TrialsError, UsageError, printable
from bptrain.experiment.batch_size import plan_for_training
from bptrain.experiment.best_state import best_by
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.search.space import Space, read_space
from bptrain.experiment.search.space_check import refuse_wrong_values
from bptrain.experiment.search.sweep import Process, RunFiles, Sweep, with_spread
from bptrain.experiment.search.trial import Setup, Trial, best_first, best_of
from bptrain.experiment.stored_config import plain
from bptrain.rundir.durable_files import make_directory, replace_file, storing
from bptrain.rundir.run_directory import holds_run
from bptrain.rundir.run_lock import locked
from bptrain.tags import Ranking
from bptrain.train.job import place_in_job
from bptrain.train.signals import StopRequest

TRIALS = 20  # of a search that is no grid
BEST, DATABASE = "best.yaml", "study.db"
OTHERWISE = "choose another folder with --dir"
Goal = Literal["min", "max"]
Start = Callable[[RunFiles, int], Process]


@dataclass(frozen=True)
class SweepOptions:
    """Options of the command; None for what follows from the config and the space."""

    trials: int | None = None
    at_once: int = 1
    search: str | None = None
    metric: str | None = None
    goal: str | None = None
    seeds: int = 1
    storage: str | None = None
    folder: Path | None = None
    prunes: bool | None = None
    json: bool = False


@dataclass(frozen=True)
class Search:
    """A search whose config and values are checked.

    path    of the config's file
    config  with the first combination of values
    """

    path: Path
    space: Space
    options: SweepOptions
    config: ExperimentConfig
    ranking: Ranking

    @property
    def folder(self) -> Path:
        """Where its runs lie."""
        return self.options.folder or Path("runs") / f"{self.config.name}-sweep"

    @property
    def kind(self) -> str:
        """How combinations are drawn: grid, random or tpe."""
        return self.options.search or ("grid" if self.space.is_grid else "tpe")

    @property
    def trials(self) -> int:
        """How many combinations are tried."""
        if self.kind == "grid":
            return min(self.options.trials or self.space.size, self.space.size)
        return self.options.trials or TRIALS

    @property
    def setup(self) -> Setup:
        """What must be the same for the search to continue."""
        space = {each.key: str(each) for each in self.space.dimensions}
        seeds = self.options.seeds
        return Setup(space, self.kind, self.ranking.tag, seeds, plain(self.config))

    def config_of(self, trial: Trial, seed: int = 0) -> ExperimentConfig:
        """Return the config of a trial's run; raise UsageError if the values do not fit together.

        seed  of the trial's runs, counted from 0
        """
        words = [*self.space.words(trial.values), f"checkpoint.best_by={write(self.ranking.tag)}"]
        words += [f"seed={self.config.seed + seed}"] * (seed > 0)
        return load_config(ExperimentConfig, self.path, [*self.space.fixed, *words])

    def run_dirs(self, trial: Trial) -> list[Path]:
        """Return the folder of each run of a trial."""
        name = f"trial-{trial.number:03d}"
        if self.options.seeds == 1:
            return [self.folder / name]
        return [self.folder / f"{name}-seed-{seed}" for seed in range(self.options.seeds)]

    def files_of(self, trial: Trial, seed: int) -> RunFiles:
        """Write the config of a trial's run, and return the run's files."""
        run_dir = self.run_dirs(trial)[seed]
        config = self.folder / "configs" / f"{run_dir.name}.yaml"
        with storing(config, OTHERWISE):
            make_directory(config.parent)
            make_directory(self.folder / "logs")
            replace_file(config, to_yaml(self.config_of(trial, seed)).encode())
        return RunFiles(config, run_dir, self.folder / "logs" / f"{run_dir.name}.txt")

    def start(self, files: RunFiles, slot: int) -> Process:
        """Start a run."""
        return TrialProcess(files, environment_of(slot, self.options.at_once, self.config.device))


def sweep(
    path: Path, words: list[str], options: SweepOptions, console: Console, stop: StopRequest
) -> None:
    """Check the config and the values, and search."""
    refuse_without_optuna()
    processes = place_in_job().count
    if processes > 1:
        raise UsageError(
            f"a job of {processes:,} processes: each would search by itself",
            hint="start it without torchrun; --jobs runs several trials at a time",
        )
    search = checked(path, words, options)
    with stop.noted():
        searched(search, search.start, console, stop)


def refuse_without_optuna() -> None:
    """Raise UsageError if the package that searches is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "sweep needs optuna",
            "the package of the extra is not installed",
            "pip install 'bptrain[sweep]'",
        ) from error


def checked(path: Path, words: list[str], options: SweepOptions) -> Search:
    """Return the search, or raise an error for what would fail in every trial."""
    space = read_space(words)
    if options.metric is not None:
        space.fixed.append(f"checkpoint.best_by={write(options.metric)}")
    refuse_wrong_values(path, space)
    first = space.words(next(space.combinations()))
    config = load_config(ExperimentConfig, path, [*space.fixed, *first])
    dataset = plan_for_training(config).dataset
    if dataset.validation is None:
        raise UsageError(
            "a search compares trials on validation samples, and there are none",
            hint="a data.validation_fraction above 0",
        )
    ranking = best_by(config, dataset.problem)
    search = Search(path, space, options, config, ranking)
    if search.kind == "grid" and not space.is_grid:
        raise UsageError(
            "--search grid: a range has no grid",
            hint="lists of values, such as optimizer.lr=0.01,0.1, or --search random",
        )
    better: Goal = "max" if ranking.larger_is_better else "min"
    if options.goal not in (None, better):
        size = "larger" if ranking.larger_is_better else "smaller"
        raise UsageError(
            f"--goal {options.goal}: {ranking.tag} is better where it is {size}",
            hint=f"--goal {better}, or leave it out",
        )
    if options.seeds > 1 and any(each.key == "seed" for each in space.dimensions):
        raise UsageError("seed is searched", "--seeds sets it too", "one of both")
    if holds_run(search.folder):
        raise UsageError(f"{search.folder}: it is a run's folder", hint=OTHERWISE)
    return search


def searched(search: Search, start: Start, console: Console, stop: StopRequest) -> None:
    """Run the trials, print the table and write the best config.

    Raises InterruptedRun for a stop, TrialsError if no trial came to its end.
    """
    from bptrain.experiment.search.study import Database, Study, using_database

    options, folder = search.options, search.folder
    with storing(folder, OTHERWISE):
        make_directory(folder)
    place = f"{platform.node()}:{folder.resolve()}"
    url = options.storage or f"sqlite:///{folder.resolve() / DATABASE}"
    database = Database(url, search.config.name, place, options.storage is not None)

    def tell(line: str) -> None:
        if options.json:
            print(printable(line), file=sys.stderr, flush=True)
        else:
            console.print(line, highlight=False, soft_wrap=True)

    with locked(folder), using_database(url):
        larger = search.ranking.larger_is_better
        study = Study(database, search.space, search.setup, larger)
        prunes = search.kind == "tpe" if options.prunes is None else options.prunes
        study.prepare(search.trials, search.config.seed, prunes)
        tell(f"{search.trials} trials by {search.kind}, in {folder}; Ctrl-C saves and stops")
        Sweep(
            *(study, search.ranking.tag, larger, options.seeds, options.at_once),
            files_of=search.files_of,
            start=start,
            tell=tell,
        ).run(stop)
        conclude(search, study.all(), console, stop)


def conclude(search: Search, trials: list[Trial], console: Console, stop: StopRequest) -> None:
    """Print what was found so far, and write the best config."""
    ranking, options = search.ranking, search.options
    trials = best_first(trials, ranking.larger_is_better)
    best = best_of(trials, ranking.larger_is_better)
    path = search.folder / BEST
    if best is not None:
        text = f"trial {best.number} of {search.folder}: {ranking.tag} {with_spread(best)}"
        with storing(path, OTHERWISE):
            replace_file(path, f"# {text}\n{to_yaml(search.config_of(best))}".encode())
    if options.json:
        facts = {
            "folder": str(search.folder),
            "metric": ranking.tag,
            "goal": "max" if ranking.larger_is_better else "min",
            "best": None if best is None else best.number,
            "best_config": None if best is None else str(path),
        }
        runs = {each.number: search.run_dirs(each) for each in trials}
        print(as_json(trials, search.space, runs, facts))
    else:
        console.print(table_of(trials, search.space, ranking.tag))
        if best is not None:
            line = f"best: {text}\nnext: bptrain fit {path}"
            console.print(line, highlight=False, soft_wrap=True)
    finished = sum(each.status in ("finished", "pruned", "failed") for each in trials)
    if stop.signal_number is not None:
        raise InterruptedRun(
            stop.signal_number,
            f"stopped: {finished} of {search.trials} trials are done",
            f"the same command continues; all is in {search.folder}",
        )
    failed = [each for each in trials if each.status == "failed"]
    if best is None and failed:
        raise TrialsError(
            f"{search.folder}: no trial came to its end",
            f"the first ended with exit code {failed[0].exit_code}: {failed[0].why}",
            failed[0].exit_code,
        )
