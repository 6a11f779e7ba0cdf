"""`evaluate`: loss and metrics of a saved run."""

import json
from pathlib import Path

from bptrain.errors import UsageError
from bptrain.experiment.build import build
from bptrain.experiment.evaluation import Evaluation, evaluate_state, save_pictures
from bptrain.experiment.plan import plan
from bptrain.experiment.saved_run import Choice, choose_checkpoint, read_config
from bptrain.monitor.console import lines_of
from bptrain.train.memory import allocating


def evaluate(run_dir: Path, which: Choice, as_json: bool) -> None:
    """Print loss and metrics of a run's best or last checkpoint, and write its pictures."""
    evaluation = evaluate_run(run_dir, which)
    if as_json:
        print(json.dumps({"checkpoint": evaluation.checkpoint, **evaluation.values}))
    else:
        rows = [[name, f"{value:.6g}"] for name, value in evaluation.values.items()]
        print("\n".join(lines_of([["checkpoint", evaluation.checkpoint], *rows])))
        for each in evaluation.figures:
            if each.rows:
                print("\n".join(["", *lines_of(each.rows)]))
    for path in save_pictures(run_dir, evaluation):
        if not as_json:
            print(f"picture {path}")


def evaluate_run(run_dir: Path, which: Choice) -> Evaluation:
    """Evaluate the best or last state of a run."""
    config = read_config(run_dir)
    checkpoint = choose_checkpoint(run_dir, which)
    with allocating():
        evaluation = evaluate_state(build(plan(config)), checkpoint)
    if evaluation is None:
        raise UsageError(f"{run_dir}: the run's data has neither test nor validation samples")
    return evaluation
