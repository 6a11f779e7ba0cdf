"""The configs that come with bptrain run on the tape: each step is compared with autograd's."""

import pytest
from small_files import CONFIGS

from bptrain.config import load_config
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.tape.run import AutogradRun

HAVE_DATA = ("digits", "parity", "xor", "spirals", "adding", "copy")
PATHS = [path for path in sorted(CONFIGS.glob("*.yaml")) if path.stem.startswith(HAVE_DATA)]


def test_there_are_many() -> None:
    assert len(PATHS) >= 20


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_config_trains_on_the_tape(path: object) -> None:
    experiment = build(plan(load_config(ExperimentConfig, path, ["data.batch_size=16"])))
    batch = next(iter(experiment.batches.epoch(0)))
    with experiment.update.precision.computing():
        run = experiment.engine.begin(batch.inputs, batch.targets)
    assert not isinstance(run, AutogradRun), experiment.engine.reasons
