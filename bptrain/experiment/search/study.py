"""The search itself, by Optuna: which combination is next, and a database of all of them.

The only file that imports Optuna.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from bptrain.config.yaml_tree import write
from bptrain.errors import StorageError, UsageError, shorten
from bptrain.experiment.search.space import Choices, Dimension, Space
from bptrain.experiment.search.trial import Setup, Status, Trial
from bptrain.experiment.stored_config import PLACE_OF_DATA, differences

NOT_PRUNED = 5  # trials, with whose curves the later ones are compared
FIRST_PRUNED = 1  # the validation, counted from 0: after one epoch a rate's warmup may not be over
DIGITS = 6  # of a number that is drawn: more would only be hard to read
MOST_NAMED = 3  # differences that a message names
ANYWHERE = ("config.name", "config.device")  # may differ between machines
STATUSES: dict[TrialState, Status] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}


@contextmanager
def using_database(url: str) -> Iterator[None]:
    """Turn what a database refuses inside the block into an error that names it."""
    try:
        yield
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise UsageError(
            f"--storage {shorten(url, 80)}: no database",
            str(error).split("\n")[0],
            "sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME with its driver installed",
        ) from error
    except (SQLAlchemyError, StorageInternalError) as error:
        shown = make_url(url).render_as_string(hide_password=True)
        raise StorageError(
            f"{shown}: the trials cannot be read or stored",
            str(error.__cause__ or error).split("\n")[0],
            "the same command continues once the database answers",
        ) from error


class Database(NamedTuple):
    """Where trials are stored.

    study      the name of the search in it
    place      this machine and folder, where its trials' runs lie
    is_shared  whether other places may use the database too
    """

    url: str
    study: str
    place: str
    is_shared: bool


class Study:
    """The trials of a search, in a database.

    larger  whether a larger metric is better
    """

    def __init__(self, database: Database, space: Space, setup: Setup, larger: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.setup = space, setup
        self.place, self.is_shared = database.place, database.is_shared
        self._live: dict[int, optuna.Trial] = {}  # those that are trained here
        self._reported: dict[int, int] = {}
        storage, name = RDBStorage(database.url), database.study
        direction: Literal["maximize", "minimize"] = "maximize" if larger else "minimize"
        try:
            self.study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        except DuplicatedStudyError:
            self.study = optuna.load_study(storage=storage, study_name=name)
        stored = self.study.user_attrs.get("setup")
        if stored is None:
            self.study.set_user_attr("setup", asdict(setup))
        else:
            refuse_another_search(stored, asdict(setup), self.place)

    def prepare(self, trials: int, seed: int, prunes: bool) -> None:
        """Choose how combinations are drawn, and queue those of a grid.

        The sampler's seed follows from the number of trials there are: a search that is continued
        draws others than the one before it.
        """
        self.trials = trials
        known = len(self.study.get_trials(deepcopy=False))
        where = self.place if self.is_shared else ""
        digest = sha256(f"{seed} {known} {where}".encode()).digest()
        drawn_by = int.from_bytes(digest[:4], "little")
        if self.setup.search == "tpe":
            self.study.sampler = optuna.samplers.TPESampler(seed=drawn_by)
        else:
            self.study.sampler = optuna.samplers.RandomSampler(seed=drawn_by)
        self.study.pruner = (
            optuna.pruners.MedianPruner(NOT_PRUNED, FIRST_PRUNED)
            if prunes
            else optuna.pruners.NopPruner()
        )
        if self.setup.search == "grid":
            points = list(self.space.combinations())
            random.Random(seed).shuffle(points)  # noqa: S311  any part of them covers the grid
            for point in points[known:trials]:
                keys = (each.key for each in self.space.dimensions)
                self.study.enqueue_trial(dict(zip(keys, point, strict=True)))

    def next(self) -> Trial | None:
        """Begin another trial, or return None where there are as many as there shall be."""
        found = self.study.get_trials(deepcopy=False)
        queued = any(each.state == TrialState.WAITING for each in found)
        if not queued and (self.setup.search == "grid" or len(found) >= self.trials):
            return None
        begun = self.study.ask()
        if begun.number >= self.trials:  # another machine has begun the last one in this moment
            self.study.tell(begun, state=TrialState.FAIL)
            return None
        begun.set_user_attr("place", self.place)
        return self._drawn(begun)

    def unfinished(self) -> Iterator[Trial]:
        """Yield the trials that were begun here and not finished: their process was killed."""
        for each in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not self.is_shared or each.user_attrs.get("place") == self.place:
                self._reported[each.number] = len(each.intermediate_values)
                yield self._drawn(optuna.Trial(self.study, each._trial_id))

    def _drawn(self, trial: optuna.Trial) -> Trial:
        """Return a trial with its combination, which is drawn if it is not stored yet."""
        self._live[trial.number] = trial
        values = [_suggested(trial, each) for each in self.space.dimensions]
        return Trial(trial.number, values, results=trial.user_attrs.get("results", ()))

    def report(self, trial: Trial, values: Sequence[float]) -> bool:
        """Store the metric after each validation, and return whether to prune the trial."""
        live, stored = self._live[trial.number], self._reported.get(trial.number, 0)
        for step in range(stored, len(values)):
            live.report(values[step], step)
        self._reported[trial.number] = max(stored, len(values))
        return len(values) > stored and live.should_prune()

    def keep(self, trial: Trial) -> None:
        """Store the results of the seeds so far."""
        self._live[trial.number].set_user_attr("results", list(trial.results))

    def finish(self, trial: Trial) -> None:
        """Store that a trial is finished, with the mean over its seeds."""
        self.keep(trial)
        self.study.tell(self._live.pop(trial.number), trial.mean)

    def prune(self, trial: Trial) -> None:
        """Store that a trial was stopped, being worse than others."""
        self.study.tell(self._live.pop(trial.number), state=TrialState.PRUNED)

    def fail(self, trial: Trial, exit_code: int, why: str) -> None:
        """Store that a trial failed."""
        live = self._live.pop(trial.number)
        live.set_user_attr("exit_code", exit_code)
        live.set_user_attr("why", why)
        self.study.tell(live, state=TrialState.FAIL)

    def all(self) -> list[Trial]:
        """Return the trials that were begun, in their order."""
        states = tuple(STATUSES)
        found = self.study.get_trials(states=states)
        return [self._told(each) for each in found if each.number < self.trials]

    def _told(self, frozen: FrozenTrial) -> Trial:
        attributes = frozen.user_attrs
        dimensions = self.space.dimensions
        values = [text_of(frozen.params.get(each.key), each) for each in dimensions]
        status, why = STATUSES[frozen.state], attributes.get("why", "")
        place = attributes.get("place", self.place)
        if status == "unfinished" and self.is_shared and place != self.place:
            status, why = "elsewhere", place
        if status == "pruned":
            why = f"after validation {len(frozen.intermediate_values)}"
        return Trial(
            frozen.number,
            values,
            status,
            attributes.get("results", ()),
            attributes.get("exit_code", 0),
            why,
        )


def _suggested(trial: optuna.Trial, dimension: Dimension) -> str:
    """Return the value of a trial in a dimension, as YAML."""
    key = dimension.key
    if isinstance(dimension, Choices):
        return str(trial.suggest_categorical(key, dimension.values))
    low, high, is_log = dimension.low, dimension.high, dimension.form == "log"
    if dimension.form == "int":
        return text_of(trial.suggest_int(key, int(low), int(high)), dimension)
    return text_of(trial.suggest_float(key, low, high, log=is_log), dimension)


def text_of(value: Any, dimension: Dimension) -> str:
    """Return a stored value as YAML, a number that was drawn with DIGITS of its own.

    A list's values are texts of YAML already.
    """
    if isinstance(dimension, Choices) or not isinstance(value, float):
        return value if isinstance(value, str) else write(value)
    rounded = float(f"{value:.{DIGITS}g}")
    return write(rounded if dimension.low <= rounded <= dimension.high else value)


def refuse_another_search(before: dict[str, Any], now: dict[str, Any], place: str) -> None:
    """Raise UsageError, naming what differs, if stored trials are of another search."""
    found = [
        f"{key} was {shorten(str(old), 60)}, is {shorten(str(new), 60)}"
        for key, old, new in differences(before, now)
        if key not in ANYWHERE and not PLACE_OF_DATA.fullmatch(key.removeprefix("config."))
    ]
    if found:
        more = f", and {len(found) - MOST_NAMED} more" * (len(found) > MOST_NAMED)
        raise UsageError(
            f"{place}: its trials are of another search",
            ", ".join(found[:MOST_NAMED]) + more,
            "the same command as before continues it; --dir DIR begins another",
        )
