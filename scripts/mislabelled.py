"""How many of the samples whose label was changed are among those with the largest gradients?

python scripts/mislabelled.py [--epochs 3]: MNIST, 1 % of the training labels changed at random.
"""

import argparse
import tempfile
from io import StringIO
from pathlib import Path

import torch
from rich.console import Console

from bptrain.config import load_config
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.largest_gradients import sample_norms
from bptrain.experiment.plan import plan
from bptrain.experiment.session import Session
from bptrain.experiment.training import log_of
from bptrain.train.signals import StopRequest

CONFIG = Path(__file__).parent.parent / "configs" / "mnist_mlp.yaml"
CHANGED, LISTED = 0.01, 0.02  # of the samples


def main() -> None:
    """Train, and print the share that is found after each epoch."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--data", default="data", help="where MNIST is")
    given = parser.parse_args()
    words = [f"train.epochs={given.epochs}", f"data.root={given.data}", "device=cpu"]
    experiment = build(plan(load_config(ExperimentConfig, CONFIG, words)))
    labels = experiment.dataset.train.targets
    drawn = torch.Generator().manual_seed(0)
    changed = torch.randperm(len(labels), generator=drawn)[: round(CHANGED * len(labels))]
    labels[changed] = (labels[changed] + torch.randint(1, 10, changed.shape, generator=drawn)) % 10
    with tempfile.TemporaryDirectory() as directory:
        log = log_of(experiment, Path(directory), Console(file=StringIO()))
        session = Session(experiment, Path(directory) / "checkpoints", log, StopRequest())
        for report in session._steps():
            session.progress.position = report.position
            if report.position.batch == len(experiment.batches):
                norms, reason = sample_norms(experiment)
                assert norms is not None, reason
                listed = set(norms.topk(round(LISTED * len(labels))).indices.tolist())
                share = sum(each in listed for each in changed.tolist()) / len(changed)
                print(
                    f"epoch {report.position.epoch + 1}: {share:.1%} of {len(changed)} changed "
                    f"labels are among the {LISTED:.0%} largest gradients",
                    flush=True,
                )


if __name__ == "__main__":
    main()
