"""The first step of a run that was not finite: saved as it began, and repeated to find the cause.

It is stored as a checkpoint is, in the folder `failed` of the run: the weights, the batches, and
all else that the step depends on. To repeat it the data set is not needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os.path import lexists
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from bptrain.data import Batch as StoredBatch
from bptrain.data import BatchSource
from bptrain.data.batches import Batches, FewBatches
from bptrain.data.tables.column_encoding import from_plain
from bptrain.errors import CheckpointError
from bptrain.experiment.non_finite import Failure
from bptrain.monitor.finding import Finding
from bptrain.monitor.first_non_finite import first_non_finite
from bptrain.monitor.step_part import Part
from bptrain.rundir.checkpoint import Whole, as_it_is, newest_valid, write_checkpoint
from bptrain.rundir.durable_files import remove, storing
from bptrain.rundir.training_state import MODEL, TrainingState
from bptrain.stateful import PlainState, Tree, mapping
from bptrain.train.accumulation import shares
from bptrain.train.loop import Batch, Position, scaled_part
from bptrain.train.precision import Precision
from bptrain.train.states import Generators

FAILED = "failed"  # in the folder of a run
STATES = ("samples", "columns", "generators", "carried", "precision")


class SavedFailure(PlainState):
    """What is stored of a failure in plain values."""

    step: int = Field(ge=1, le=10**12)
    what: str
    why: str


@dataclass(frozen=True)
class FailedStep:
    """A step that was not finite, and what it began with besides the weights.

    samples                         of each batch, by their numbers; [] where they are not known
    columns                         the name of each feature, where samples are rows of a table
    generators, carried, precision  their states; `carried` is None for most models
    """

    failure: Failure
    batches: Sequence[Batch]
    samples: Sequence[Sequence[int]]
    columns: Sequence[str]
    generators: Tree
    carried: Tree
    precision: Tree

    def search(
        self, model: nn.Module, loss_function: nn.Module, precision: Precision
    ) -> Finding | None:
        """Repeat the step, with the model in its state; return what is not finite in it first."""
        device = precision.device
        Generators(device).restore(self.generators)
        parts = [
            Part(
                batch.inputs,
                batch.targets,
                partial(scaled_part, precision, share) if share else None,
            )
            for batch, share in zip(self.batches, shares(self.batches), strict=True)
        ]
        found = first_non_finite(model, loss_function, parts, precision.computing)
        if found is None or found.place != "batch":
            return found
        return replace(found, sample=self._place_in_data(found))

    def _place_in_data(self, found: Finding) -> str:
        """Return in words where the data holds a number."""
        first, known = found.tensor.range.first, []
        if self.samples and first:
            known.append(f"training sample {self.samples[found.part][first[0]]:,}")
        if self.columns and "input" in found.tensor.name:
            known.append(f"column {self.columns[first[1]]}")
        return ", ".join(known)


def write_failed_step(
    run_dir: Path, failed: FailedStep, model: dict[str, Tensor], whole: Whole = as_it_is
) -> None:
    """Store a step in the folder of a run, in place of an earlier one; raises StorageError.

    whole  returns all of a tensor of the model
    """
    forget_failed_step(run_dir)
    states = {
        MODEL: model,
        "failure": failed.failure._asdict(),
        "batches": [_as_tree(batch) for batch in failed.batches],
        "samples": failed.samples,
        "columns": failed.columns,
        "generators": failed.generators,
        "carried": failed.carried,
        "precision": failed.precision,
    }
    write_checkpoint(run_dir / FAILED, TrainingState(failed.failure.step, states), whole)


def read_failed_step(run_dir: Path, device: torch.device) -> tuple[FailedStep, dict[str, Tensor]]:
    """Return the stored step of a run and the model's state, or raise CheckpointError.

    Raises ValueError, KeyError or TypeError for a valid file that holds something else.
    """
    _, saved, _ = newest_valid(run_dir / FAILED)
    states = saved.states
    failed = FailedStep(
        Failure(**SavedFailure.read(states["failure"]).model_dump()),
        [_from_tree(each, device) for each in states["batches"]],
        *(states[name] for name in STATES),
    )
    return failed, saved.model


def samples_of(source: BatchSource, position: Position, batches: int) -> list[list[int]]:
    """Return the numbers of the training samples of a step's batches, [] where not known.

    position  after the step
    """
    while isinstance(source, FewBatches):
        source = source.source
    if not isinstance(source, Batches):
        return []
    numbers = range(position.batch - batches, position.batch)
    return [source.samples(position.epoch, number).tolist() for number in numbers]


def columns_of(prepared: Mapping[str, Any]) -> list[str]:
    """Return the name of the column behind each feature; [] if the data is no table."""
    columns = from_plain(prepared.get("columns", ()))
    return [column.name for column in columns for _ in range(column.width)]


def read_failure(run_dir: Path) -> Failure | None:
    """Return what the stored step of a run was about, None if there is none.

    Raises CheckpointError for a step that is damaged.
    """
    folder = run_dir / FAILED
    if not folder.exists():
        return None
    path, saved, _ = newest_valid(folder)
    try:
        return Failure(**SavedFailure.read(saved.states["failure"]).model_dump())
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: holds no step that failed", str(error)) from error


def read_batches(run_dir: Path) -> list[StoredBatch]:
    """Return the batches of the stored step of a run; raises CheckpointError if it is damaged."""
    path, saved, _ = newest_valid(run_dir / FAILED)
    try:
        batches = [_from_tree(each, torch.device("cpu")) for each in saved.states["batches"]]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: holds no step that failed", str(error)) from error
    if not all(isinstance(each, Tensor) for b in batches for each in (b.inputs[0], b.targets[0])):
        raise CheckpointError(f"{path}: holds no step that failed", "a batch is no tensor")
    return batches


def forget_failed_step(run_dir: Path) -> None:
    """Remove the stored step of a run, if there is one."""
    folder = run_dir / FAILED
    with storing(folder):
        if lexists(folder):  # also a link that leads nowhere
            remove(folder)


def _as_tree(batch: Batch) -> Tree:
    """Return a batch as a state; lengths stay on the CPU whatever the device is."""
    given = {"inputs": batch.inputs, "targets": batch.targets}
    placed = {
        name: [isinstance(each, Tensor) and each.device.type != "cpu" for each in tensors]
        for name, tensors in given.items()
    }
    held = {name: list(tensors) for name, tensors in given.items()}
    return {**held, "weight": batch.weight, "on_device": placed}


def _from_tree(tree: Tree, device: torch.device) -> StoredBatch:
    held = mapping(tree)

    def placed(name: str) -> tuple[Any, ...]:
        pairs = zip(held[name], held["on_device"][name], strict=True)
        return tuple(each.to(device) if is_on_device else each for each, is_on_device in pairs)

    return StoredBatch(placed("inputs"), placed("targets"), held["weight"])
