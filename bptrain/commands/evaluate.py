"""`evaluate`: loss and metrics of a saved run."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bptrain.errors import StorageError, UsageError, printable
from bptrain.experiment.baselines import baselines_of
from bptrain.experiment.best_state import best_by
from bptrain.experiment.build import build
from bptrain.experiment.evaluation import (
    Evaluation,
    evaluate_files,
    evaluate_state,
    save_pictures,
)
from bptrain.experiment.plan import plan
from bptrain.experiment.saved_run import Choice, choose_checkpoint, read_config
from bptrain.experiment.stored_data import refuse_other_data
from bptrain.monitor.console import lines_of
from bptrain.rundir.prepared import read_prepared
from bptrain.train.memory import allocating

TEST_PATH = "test_path="
CHANGED = "restore the data, or `bptrain evaluate RUN DATA` for new labelled files"


def evaluate(
    run_dir: Path, files: Path | None, places: Sequence[str], which: Choice, as_json: bool
) -> None:
    """Print loss and metrics of a run's best or last checkpoint, and write its pictures.

    files   labelled data to evaluate in place of the test split
    places  `key=value` words that say where the run's data lies now
    """
    evaluation = evaluate_run(run_dir, which, files, places)
    if as_json:
        values = evaluation.values | evaluation.threshold | evaluation.baseline_values
        print(json.dumps({"checkpoint": evaluation.checkpoint, **values}))
    else:
        rows = [[name, f"{value:.6g}"] for name, value in evaluation.values.items()]
        print("\n".join(lines_of([["checkpoint", evaluation.checkpoint], *rows])))
        for line in (*evaluation.line_of_threshold, *evaluation.lines_of_baselines):
            print(line)
        for each in evaluation.figures:
            if each.rows:
                print("\n".join(["", *lines_of(each.rows)]))
    if not is_of_run(files, places):  # the pictures in the run's folder are those of its own data
        return
    try:
        pictures = save_pictures(run_dir, evaluation)
    except StorageError as error:  # the results are printed: pictures are an addition to them
        print(printable(f"no pictures: {error.what}: {error.why}"), file=sys.stderr)
        return
    for path in pictures:
        if not as_json:
            print(printable(f"picture {path}"))


def is_of_run(files: Path | None, places: Sequence[str]) -> bool:
    """Tell whether the run's own data is evaluated, not other files."""
    return files is None and not any(word.startswith(TEST_PATH) for word in places)


def evaluate_run(
    run_dir: Path,
    which: Choice,
    files: Path | None = None,
    places: Sequence[str] = (),
    device: str | None = None,
) -> Evaluation:
    """Evaluate the best or last state of a run on its test split, or on new labelled files.

    device  in place of the config's

    Raises DataError if the run's data is not what it was trained on.
    """
    named = [Path(word.removeprefix(TEST_PATH)) for word in places if word.startswith(TEST_PATH)]
    named += [files] if files is not None else []
    if len(named) > 1:
        raise UsageError("the files to evaluate are named twice", hint="DATA or --data test_path")
    config = read_config(run_dir, [word for word in places if not word.startswith(TEST_PATH)])
    if device is not None:
        config = config.model_copy(update={"device": device})
    checkpoint = choose_checkpoint(run_dir, which, best_by(config, read_prepared(run_dir)[0]))
    with allocating():
        if named:
            return evaluate_files(run_dir, config, named[0], checkpoint)
        planned = plan(config)
        refuse_other_data(run_dir, planned.dataset, CHANGED)
        experiment = build(planned)
        compared = baselines_of(experiment)
        evaluation = evaluate_state(experiment, checkpoint, baselines=compared)
    if evaluation is None:
        raise UsageError(f"{run_dir}: the run's data has neither test nor validation samples")
    return evaluation
