"""Trains the cases of the bank, and returns what they logged."""

import json
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from unittest.mock import patch

from bank import Case
from fingerprints import draw_fingerprints
from rich.console import Console

from bptrain.config import load_config
from bptrain.errors import BptrainError
from bptrain.experiment.build import Experiment, build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.experiment.saved_run import CHECKPOINTS
from bptrain.experiment.session import Session
from bptrain.experiment.training import describe, log_of
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
    create_run_directory("case", run)
    describe(run, planned, planned.dataset)
    try:
        take_all_steps(experiment, run)
    except BptrainError as error:
        (run / "error.txt").write_text(str(error))
    (run / ENDED).touch()
    return run


def take_all_steps(experiment: Experiment, run: Path) -> None:
    """Train without what follows the last step, and without pictures: no verdict reads them."""
    stop = StopRequest()  # not entered: a signal ends the bank, not this run
    with ExitStack() as within:
        draw_fingerprints(lambda name, other: within.enter_context(patch(name, other)))
        nowhere = within.enter_context(Path("/dev/null").open("w"))
        log = within.enter_context(log_of(experiment, run, Console(file=nowhere)))
        session = Session(experiment, run / CHECKPOINTS, log, stop)
        session.begin()
        session.run()
