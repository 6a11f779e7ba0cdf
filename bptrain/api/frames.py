"""Results as frames of polars."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from bptrain.experiment.comparing import Row
from bptrain.tasks.task import Prediction


def metrics_frame(lines: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the lines of a run's log as a row for each step, null where a tag was not logged.

    A step with several lines, such as the last one, which is tested, has a row with all of them.
    """
    steps: dict[int, dict[str, Any]] = {}
    for line in lines:
        steps.setdefault(line["step"], {}).update(line)
    names = dict.fromkeys(
        ["step", "epoch", "time_s", *(tag for row in steps.values() for tag in row)]
    )
    return pl.DataFrame(
        [_column(name, [row.get(name) for row in steps.values()]) for name in names]
    )


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    """Return a column: integers of steps and epochs, texts of verdicts, else numbers or lists."""
    if name in ("step", "epoch"):
        return pl.Series(name, values, pl.Int64)
    if any(isinstance(each, str) for each in values):
        return pl.Series(name, [None if each is None else str(each) for each in values], pl.String)
    if any(isinstance(each, list) for each in values):
        return pl.Series(name, values, pl.List(pl.Float64), strict=False)
    return pl.Series(name, values, pl.Float64, strict=False)


def predictions_frame(predictions: Sequence[Prediction]) -> pl.DataFrame:
    """Return predictions as a row for each."""
    return pl.DataFrame(predictions, infer_schema_length=None)


def comparison_frame(rows: Iterable[Row]) -> pl.DataFrame:
    """Return runs as a row for each, null where a run has no such key or metric."""
    flat = [
        {
            "run": row.run,
            "task": row.task,
            **{key: _plain(value) for key, value in row.config.items()},
            "ending": row.ending,
            "verdicts": list(row.verdicts),
            "best_step": row.best_step,
            **{f"best {tag}": value for tag, value in row.best.items()},
            **row.final,
            "step": row.step,
            "time_s": row.time_s,
        }
        for row in rows
    ]
    names = dict.fromkeys(name for row in flat for name in row)
    columns = {name: [row.get(name) for row in flat] for name in names}
    return pl.DataFrame([_of_runs(name, values) for name, values in columns.items()])


def _of_runs(name: str, values: Sequence[Any]) -> pl.Series:
    if name == "verdicts":
        return pl.Series(name, values, pl.List(pl.String))
    return pl.Series(name, _alike(values), strict=False)


def _plain(value: Any) -> Any:
    """Return a value of a config as a cell: lists and sections as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple | Mapping) else value


def _alike(values: Sequence[Any]) -> Sequence[Any]:
    """Return values of one kind: as texts where texts or truth values stand beside numbers."""
    kinds = {type(each) for each in values if each is not None}
    if kinds <= {int, float} or len(kinds) <= 1:
        return [
            float(each) if kinds == {int, float} and each is not None else each for each in values
        ]
    return [None if each is None else str(each) for each in values]
