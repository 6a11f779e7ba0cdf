"""Repeat the step of a run that was not finite, from what the run stored of it."""

from pathlib import Path

from bptrain.errors import CheckpointError, shorten
from bptrain.experiment.failed_step import FAILED, read_failed_step
from bptrain.experiment.loss_choice import choose_loss
from bptrain.experiment.non_finite import Failure
from bptrain.experiment.plan import resolve_device
from bptrain.experiment.saved_run import read_config, restore
from bptrain.monitor.finding import Finding
from bptrain.rundir.prepared import read_prepared
from bptrain.train.precision import Precision
from bptrain.train.states import CarriedState, CarriesState, ModelState


def replayed(run_dir: Path) -> tuple[Failure, Finding | None]:
    """Return what a run said of its step, and what is found in it now, which may be nothing.

    Raises UsageError if the folder holds no run, CheckpointError if no step is stored in it.
    """
    config = read_config(run_dir)
    if not (run_dir / FAILED).exists():
        raise CheckpointError(
            f"{run_dir}: no step to repeat",
            "it is stored when a loss or gradient is not finite, and forgotten by --resume",
        )
    problem, _ = read_prepared(run_dir)
    device = resolve_device(config.device)
    model = restore(config, problem, 0, device).train()
    loss = choose_loss(config.loss, problem).build(problem).to(device)
    precision = Precision.of(config.precision, device, config.kernels)
    try:
        failed, weights = read_failed_step(run_dir, device)
        ModelState(model).restore(weights)
        precision.restore(failed.precision)
        if isinstance(model, CarriesState):
            CarriedState(model, len(failed.batches[0].inputs[0]), device).restore(failed.carried)
        return failed.failure, failed.search(model, loss, precision)
    except (RuntimeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{run_dir / FAILED}: does not fit the run's config.yaml",
            shorten(f"{type(error).__name__}: {error}"),
            "restore the config.yaml the run was trained with",
        ) from error
