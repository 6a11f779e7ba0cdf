"""`evaluate`: loss and metrics of a saved run."""

from pathlib import Path

from bptrain.errors import UsageError
from bptrain.experiment.build import build
from bptrain.experiment.evaluation import Evaluation, evaluate_state
from bptrain.experiment.plan import plan
from bptrain.experiment.saved_run import Choice, choose_checkpoint, read_config
from bptrain.train.memory import allocating


def evaluate_run(run_dir: Path, which: Choice) -> Evaluation:
    """Evaluate the best or last state of a run."""
    config = read_config(run_dir)
    checkpoint = choose_checkpoint(run_dir, which)
    with allocating():
        evaluation = evaluate_state(build(plan(config)), checkpoint)
    if evaluation is None:
        raise UsageError(f"{run_dir}: the run's data has neither test nor validation samples")
    return evaluation
