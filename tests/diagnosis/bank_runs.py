"""Trains the cases of the bank, and returns what they logged."""

import json
from pathlib import Path
from typing import Any

from bank import Case
from rich.console import Console

from bptrain.config import load_config
from bptrain.errors import BptrainError
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.experiment.training import describe, train
from bptrain.rundir.run_directory import create_run_directory
from bptrain.train.signals import StopRequest

Lines = list[dict[str, Any]]


def trained(case: Case, folder: Path, *words: str) -> Path:
    """Train a case whose files lie in `folder`, with overrides, and return the run's folder."""
    section = dict(case.config["data"])
    if "path" in section:
        section["path"] = str(folder / section["path"])
    path = folder / "case.yaml"
    path.write_text(json.dumps({**case.config, "name": "case", "data": section}))  # YAML too
    planned = plan(load_config(ExperimentConfig, path, words))
    experiment = build(planned)
    if case.alter is not None:
        case.alter(experiment.model)
    with StopRequest() as stop, Path("/dev/null").open("w") as nowhere:
        run = create_run_directory("case", folder / "runs" / str(len(list(folder.glob("runs/*")))))
        describe(run, planned, planned.dataset)
        try:
            train(experiment, run, Console(file=nowhere), stop)
        except BptrainError as error:
            (run / "error.txt").write_text(str(error))
    return run


def lines_of(run: Path) -> Lines:
    """Return the lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
