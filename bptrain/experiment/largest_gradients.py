"""Which training samples have the largest gradients: the hard ones, and those with a wrong label.

One pass over the training samples, in their order and without augmentation, with the weights as
they are and the layers as in evaluation. docs/tensorboard.md says which networks have such
gradients.
"""

import csv
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.experiment.build import Experiment
from bptrain.experiment.plan import serve
from bptrain.monitor.layer_watch import LayerWatch
from bptrain.monitor.sample_gradients import SampleGradients
from bptrain.monitor.watched_engine import WatchedEngine
from bptrain.rundir.durable_files import replace_file, storing
from bptrain.tape import Step
from bptrain.train.loop import Batch

FILE = "largest_gradients.csv"
FRACTION = 0.02  # of the samples that are listed
FEWEST = 100
FEW = "those of convolutions and normalizations are taken of a few samples only"


class SampleNorms(NamedTuple):
    """The norm of each training sample's gradient [N], or the reason why there are none."""

    norms: Tensor | None
    reason: str


def write_largest_gradients(run_dir: Path, experiment: Experiment) -> str:
    """Write the training samples with the largest gradients to a file; return a line about it."""
    norms, reason = sample_norms(experiment)
    if norms is None:
        return f"no list of the samples with the largest gradients: {reason}"
    count = min(len(norms), max(FEWEST, round(FRACTION * len(norms))))
    largest, samples = norms.topk(count)
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["sample", "gradient_norm"])
    rows.writerows(zip(samples.tolist(), largest.tolist(), strict=True))
    with storing(run_dir):
        replace_file(run_dir / FILE, text.getvalue().encode())
    return f"{FILE}: the {count:,} training samples with the largest gradients"


def sample_norms(experiment: Experiment) -> SampleNorms:
    """Return the norm of each training sample's gradient."""
    model = experiment.model
    engine = WatchedEngine(Step(model, experiment.loss_function))
    found: list[Tensor] = []
    was_training = model.training
    model.eval()
    try:
        for batch in serve(experiment.config, experiment.dataset.train).epoch(0):
            seen = _of_batch(engine, experiment, batch)
            norms = seen.norms()
            if norms is None or len(norms) < seen.samples:
                return SampleNorms(None, seen.reason or FEW)
            found.append(norms * seen.samples)
    finally:
        model.train(was_training)
        model.zero_grad()
    return SampleNorms(torch.cat(found), "")


def _of_batch(engine: WatchedEngine, experiment: Experiment, batch: Batch) -> SampleGradients:
    watch = LayerWatch(experiment.model)
    watch.samples = SampleGradients(p for p in experiment.model.parameters() if p.requires_grad)
    engine.watch_next(1, watch)
    with experiment.update.precision.computing():
        run = engine.begin(batch.inputs, batch.targets)
        run.forward()
        run.loss()
    experiment.model.zero_grad()
    run.backward(lambda loss: loss)
    return watch.samples
