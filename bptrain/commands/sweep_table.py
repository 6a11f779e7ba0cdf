"""What a search found, as a table and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bptrain.config.yaml_tree import read_tree
from bptrain.errors import printable, shorten
from bptrain.experiment.search.space import Space
from bptrain.experiment.search.sweep import with_spread
from bptrain.experiment.search.trial import Trial

LONGEST_VALUE, LONGEST_STATUS = 30, 60  # characters of a config's value, of how a trial ended


def table_of(trials: Sequence[Trial], space: Space, metric: str) -> Table:
    """Return the trials in their order, with their values and what they reached."""
    table = Table()
    table.add_column("trial", justify="right")
    for each in space.dimensions:
        table.add_column(printable(each.key), justify="right", overflow="fold")
    table.add_column(metric, justify="right", overflow="fold")
    table.add_column("status", overflow="fold")
    for trial in trials:
        cells = [_cell(value) for value in trial.values]
        table.add_row(str(trial.number), *cells, with_spread(trial), _status(trial))
    return table


def _cell(value: str) -> str:
    """Return a value for the table, a number that was drawn with four digits."""
    plain = read_tree(value).root
    return f"{plain:.4g}" if isinstance(plain, float) else printable(shorten(value, LONGEST_VALUE))


def _status(trial: Trial) -> str:
    if trial.status == "failed":
        text = f"failed, exit code {trial.exit_code}: {trial.why}"
    else:
        text = f"{trial.status} {trial.why}".strip()
    return printable(shorten(text, LONGEST_STATUS))


def as_json(
    trials: Sequence[Trial], space: Space, runs: dict[int, list[Path]], facts: dict[str, Any]
) -> str:
    """Return the trials as one JSON object.

    runs   the folders of each trial's runs, by its number
    facts  of the whole search
    """
    rows = [
        {
            "trial": each.number,
            "config": {
                dimension.key: read_tree(value).root
                for dimension, value in zip(space.dimensions, each.values, strict=True)
            },
            "status": each.status,
            "exit_code": each.exit_code,
            "why": each.why,
            "value": each.mean if each.results else None,
            "spread": each.spread,
            "seeds": list(each.results),
            "runs": [str(run) for run in runs[each.number]],
        }
        for each in trials
    ]
    return json.dumps({**facts, "trials": rows})
