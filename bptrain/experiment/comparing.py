"""Many runs beside each other: the keys of their configs that differ, and what came of them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from bptrain.errors import BptrainError, StorageError, UsageError, shorten
from bptrain.experiment.run_record import SPLITS, RunRecord, config_of, read_record
from bptrain.experiment.stored_config import flat
from bptrain.rundir.run_directory import holds_run
from bptrain.tasks import task_of

LEFT_OUT = ("name",)  # of the keys: the folder has it


class Row(NamedTuple):
    """A run beside others.

    config     the keys that are not the same in all runs
    step       the last one that was logged
    best_step  the one with the best validation, and `best` its validation metrics by tag
    final      the last value of each metric, by tag
    ending     how it ended, in words
    """

    run: str
    config: Mapping[str, Any]
    task: str
    step: int
    best_step: int | None
    best: Mapping[str, float]
    final: Mapping[str, float]
    verdicts: Sequence[str]
    time_s: float | None
    ending: str


class Found(NamedTuple):
    """Runs, and why others could not be read.

    larger_is_better  names of metrics of which a larger value is better
    """

    rows: list[Row]
    unreadable: list[str]
    larger_is_better: frozenset[str]


def compared(places: Sequence[Path]) -> Found:
    """Return the runs in these folders, each a run's or one that holds runs.

    Raises UsageError for a folder with neither, and what `read_record` raises for a named run. A
    run that was only found in a named folder is listed as unreadable instead.
    """
    records: dict[Path, RunRecord] = {}
    unreadable = []
    for place in places:
        if holds_run(place):
            records[place.resolve()] = read_record(place)
            continue
        for run in runs_in(place):
            try:
                records.setdefault(run.resolve(), read_record(run))
            except BptrainError as error:
                unreadable.append(
                    shorten(f"{error.what}: {error.why}" if error.why else error.what)
                )
    configs = [flat(config_of(each)) for each in records.values()]
    keys = differing(configs)
    rows = [
        _row(record, {key: config[key] for key in keys if key in config})
        for record, config in zip(records.values(), configs, strict=True)
    ]
    problems = [record.stored.problem for record in records.values()]
    larger = [task_of(each).evaluation_metric(each).larger_is_better for each in problems]
    return Found(rows, unreadable, frozenset(chain(*larger)))


def runs_in(folder: Path) -> list[Path]:
    """Return the runs directly in a folder by name, or raise UsageError for none."""
    try:
        found = sorted(path for path in folder.iterdir() if path.is_dir() and holds_run(path))
    except (FileNotFoundError, NotADirectoryError):
        found = []
    except OSError as error:
        raise StorageError(f"{folder}: cannot be read", error.strerror or str(error)) from error
    if not found:
        raise UsageError(
            f"{folder}: not a run directory, and it holds none", "there is no config.yaml"
        )
    return found


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys that are not the same in all configs that have them.

    Which keys a config has follows from its kinds of data, model and so on, which are keys too.
    """
    values: dict[str, list[Any]] = {}
    for config in configs:
        for key, value in config.items():
            values.setdefault(key, []).append(value)
    return [
        key
        for key, found in values.items()
        if key not in LEFT_OUT and any(value != found[0] for value in found)
    ]


def _row(record: RunRecord, config: Mapping[str, Any]) -> Row:
    step, best = record.best or (None, {})
    return Row(
        str(record.folder),
        config,
        record.stored.problem.task,
        record.history.step,
        step,
        best,
        record.final,
        [each.kind for each in record.verdicts],
        record.duration_s,
        record.ending,
    )


def sorted_by(found: Found, key: str) -> list[Row]:
    """Return the rows by a value of each: metrics best first, others smallest first.

    Those without it come last. Raises UsageError for a key that no row has.
    """
    rows = found.rows
    values = [dict(values_of(row)).get(key) for row in rows]
    if all(value is None for value in values):
        known = dict.fromkeys(name for row in rows for name, _ in values_of(row))
        raise UsageError(f"--sort {shorten(key, 80)}: no run has it", hint=", ".join(known))
    split, _, metric = key.partition("/")
    sign = -1 if split in SPLITS and metric in found.larger_is_better else 1
    pairs = zip(values, rows, strict=True)
    return [row for _, row in sorted(pairs, key=lambda pair: _order(pair[0], sign))]


def values_of(row: Row) -> Iterator[tuple[str, Any]]:
    """Yield the values by which runs can be sorted: of a validation metric the best one."""
    yield "name", Path(row.run).name
    yield "time_s", row.time_s
    yield "step", row.step
    yield from row.config.items()
    yield from {**row.final, **row.best}.items()


def _order(value: Any, sign: int) -> tuple[int, float, str]:
    """Return what sorts numbers before texts, and both before nothing."""
    if isinstance(value, bool | int | float):
        return 0, sign * float(value), ""
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))
