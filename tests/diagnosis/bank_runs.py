"""Trains the cases of the bank, and returns what they logged."""

import json
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

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

ENDED = "ended"  # an empty file in the folder of a run that was trained to its end


def trained(case: Case, folder: Path, *words: str) -> Path:
    """Train a case whose files lie in `folder`, with overrides, and return the run's folder.

    A run that lies there, trained before, is not trained again.
    """
    run = folder / "runs" / sha256(repr((case.name, case.config, words)).encode()).hexdigest()[:16]
    if (run / ENDED).exists():
        return run
    rmtree(run, ignore_errors=True)
    section = dict(case.config["data"])
    for key in {"path", "root"} & set(section):
        section[key] = str(folder / section[key])
    path = folder / "case.yaml"
    path.write_text(json.dumps({**case.config, "name": "case", "data": section}))  # YAML too
    planned = plan(load_config(ExperimentConfig, path, words))
    experiment = build(planned)
    if case.alter is not None:
        case.alter(experiment.model)
    with Path("/dev/null").open("w") as nowhere:
        create_run_directory("case", run)
        describe(run, planned, planned.dataset)
        try:
            train(experiment, run, Console(file=nowhere), StopRequest())
        except BptrainError as error:
            (run / "error.txt").write_text(str(error))
    (run / ENDED).touch()
    return run
