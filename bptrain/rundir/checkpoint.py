"""Checkpoints: safetensors and JSON, written under another name and renamed once complete.

    checkpoints/step-000500/
        model.safetensors  optimizer.safetensors  state.json
        manifest.json       size and SHA-256 of each of the others, written last

Whenever a run is killed, every earlier checkpoint is still there and complete:

    .unfinished-step-000500   being written; renamed to step-000500 once complete
    .replaced-step-000500     an older checkpoint of that step, while a newer one is renamed; if
                              there is no step-000500, it is used as the checkpoint
    .removed-step-000400      being removed

The next save removes what a killed run left under such names. Neither file format can contain
code, and everything is verified when it is read: see `manifest`.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import Field
from torch import Tensor

from bptrain.errors import CheckpointError, shorten
from bptrain.rundir.canonical_json import decode, encode
from bptrain.rundir.durable_files import make_directory, remove, storing, sync_directory
from bptrain.rundir.manifest import ANOTHER, read_manifest, read_verified, seal
from bptrain.rundir.tensors_file import in_file_order, parts_of, read
from bptrain.rundir.training_state import MODEL, TrainingState, put_together
from bptrain.stateful import PlainState, mapping
from bptrain.tags import BY_LOSS, Ranking

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
UNFINISHED, REPLACED, REMOVED = ".unfinished-", ".replaced-", ".removed-"
STEP = re.compile(r"step-([0-9]{6,})")
Whole: TypeAlias = Callable[[Tensor], Tensor]
LARGEST_STATE = 16 * 2**20  # bytes of state.json


class Values(PlainState):
    """What `state.json` holds: a `TrainingState` without its tensors."""

    step: int = Field(ge=0)
    metrics: dict[str, float]
    states: dict[str, Any]


def as_it_is(tensor: Tensor) -> Tensor:
    """Return the tensor."""
    return tensor


def write_checkpoint(directory: Path, state: TrainingState, whole: Whole = as_it_is) -> Path:
    """Write `state` into a new folder of `directory` and return it; complete or not at all.

    An older checkpoint of the same step is replaced, but only once the new one is complete.

    whole  returns all of a tensor, of which the state may hold a part (`give_parts`)
    """
    path = directory / name_of(state.step)
    plain, tensors = state.rest()
    values = encode({"step": state.step, "metrics": state.metrics, "states": plain})
    if len(values) > LARGEST_STATE:
        raise ValueError(f"{len(values):,} bytes of values, at most {LARGEST_STATE:,} are allowed")
    Values.read(decode(values))  # raises ValueError for a state that could not be read back
    contents = _contents(state.model, tensors, values, whole)
    with storing(path):
        make_directory(directory)
        _clear_up(directory)
        unfinished = directory / (UNFINISHED + path.name)
        try:
            unfinished.mkdir()
            seal(unfinished, contents)
            _give_name(unfinished, path)
        except BaseException:
            with suppress(OSError):
                remove(unfinished)  # frees the space on a full disk
            raise
    return path


def give_parts(state: TrainingState, whole: Whole) -> None:
    """Do what `write_checkpoint` does of the same state in another process, but for writing.

    whole  gives the other process what this one holds of a tensor
    """
    for tensors in (state.model, state.rest()[1]):
        for name in in_file_order(tensors):
            whole(tensors[name])


def read_checkpoint(path: Path) -> TrainingState:
    """Return the verified state of a checkpoint folder, or raise CheckpointError."""
    manifest = read_manifest(path, FILES)
    values = read_values(path)
    model, tensors = (
        _tensors(path / name, read_verified(path / name, manifest[name])) for name in FILES[:2]
    )
    try:
        states = mapping(put_together(values.states, tensors))
    except (ValueError, RecursionError) as error:
        raise _not_of_a_checkpoint(path / FILES[2], error) from error
    return TrainingState(values.step, {MODEL: model, **states}, values.metrics)


def read_values(path: Path) -> Values:
    """Return the verified `state.json` of a checkpoint folder, or raise CheckpointError.

    Of the tensor files only the sizes are verified.
    """
    file = path / FILES[2]
    content = read_verified(file, read_manifest(path, FILES)[FILES[2]], LARGEST_STATE)
    try:
        values = Values.read(decode(content))
    except ValueError as error:
        raise _not_of_a_checkpoint(file, error) from error
    name = name_of(values.step)
    if STEP.fullmatch(_own_name(path)) and name != _own_name(path):
        raise CheckpointError(f"{path}: holds {name}, which is not the folder's name", hint=ANOTHER)
    return values


def list_checkpoints(directory: Path) -> list[Path]:
    """Return the checkpoint folders, oldest step first, valid or not."""
    try:
        there = {path.name: path for path in directory.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"{directory}: cannot be read", error.strerror or "") from error
    found = {}
    for path in there.values():
        step = STEP.fullmatch(_own_name(path))
        if step and (path.name == _own_name(path) or _own_name(path) not in there):
            found[path] = int(step[1])
    return sorted(found, key=found.__getitem__)


def last_first(directory: Path) -> list[Path]:
    """Return the checkpoint folders, newest first, or raise CheckpointError if there is none."""
    paths = list_checkpoints(directory)[::-1]
    if not paths:
        raise CheckpointError(f"{directory}: no checkpoint", hint="was the run stopped early?")
    return paths


def newest_valid(directory: Path) -> tuple[Path, TrainingState, list[CheckpointError]]:
    """Return the newest valid checkpoint, its state, and the errors of newer ones.

    Raises CheckpointError if none verifies.
    """
    errors: list[CheckpointError] = []
    for path in last_first(directory):
        try:
            return path, read_checkpoint(path), errors
        except CheckpointError as error:
            errors.append(error)
    raise _none_valid(directory, errors)


def by_metric(
    directory: Path, ranking: Ranking = BY_LOSS
) -> tuple[list[Path], list[CheckpointError]]:
    """Return the checkpoints sorted by a validation metric, best first, and the errors of others.

    Those without the metric come last; of equal ones the newest is first. Only `state.json` is
    verified.
    """
    errors: list[CheckpointError] = []
    costs: dict[Path, float] = {}
    for path in last_first(directory):
        try:
            costs[path] = ranking.cost(read_values(path).metrics)
        except CheckpointError as error:
            errors.append(error)
    return sorted(costs, key=costs.__getitem__), errors


def best_checkpoint(
    directory: Path, written: Path | None = None, ranking: Ranking = BY_LOSS
) -> Path:
    """Return the valid checkpoint with the best validation metric; without metrics the newest.

    written  a checkpoint that this process has just written, and that is not verified again
    ranking  the metric, by default the loss

    Raises CheckpointError if none verifies.
    """
    paths, errors = by_metric(directory, ranking)
    for path in paths:
        try:
            if path != written:
                read_checkpoint(path)
        except CheckpointError as error:
            errors.append(error)
        else:
            return path
    raise _none_valid(directory, errors)


def prune(
    directory: Path, keep_last: int, written: Path | None = None, ranking: Ranking = BY_LOSS
) -> None:
    """Remove all checkpoints except the newest `keep_last` valid ones and the best one.

    written  a checkpoint that this process has just written, and that is not verified again
    ranking  what the best one is the best by

    A damaged checkpoint does not count towards `keep_last`, and is removed once it is older than
    all that do. To hash every file at each save would take longer than the save itself. So the
    best checkpoint and those newer than `written` (a run may have been resumed from before them)
    are verified in full; of older ones only the manifest, the sizes and state.json. A flipped bit
    in a tensor file of an older one can therefore go unnoticed: that checkpoint then counts as a
    valid one. Without `written`, all that count are verified in full.
    """
    _clear_up(directory)
    retained = set() if written is None else {written}
    valid, older = 0, False
    for path in last_first(directory):
        if valid == keep_last:
            break
        retained.add(path)
        valid += path == written or _is_valid(path, in_full=not older)
        older = older or path == written
    outdated = [path for path in list_checkpoints(directory) if path not in retained]
    if not outdated:
        return
    best = best_checkpoint(directory, written, ranking)
    with storing(directory):
        # renamed first, so that a kill leaves no half-removed checkpoint under a valid name
        removed = [
            path.rename(path.with_name(REMOVED + path.name)) for path in outdated if path != best
        ]
        if removed:
            sync_directory(directory)
        for path in removed:
            remove(path)


def name_of(step: int) -> str:
    """Return the name of a step's folder."""
    return f"step-{step:06d}"


def _own_name(path: Path) -> str:
    return path.name.removeprefix(REPLACED)


def _is_valid(path: Path, in_full: bool) -> bool:
    try:
        (read_checkpoint if in_full else read_values)(path)
    except CheckpointError:
        return False
    return True


def _none_valid(directory: Path, errors: list[CheckpointError]) -> CheckpointError:
    newest = errors[0]
    return CheckpointError(
        f"{directory}: none of {len(errors)} checkpoints can be used",
        f"{newest.what}: {newest.why}" if newest.why else newest.what,
        "restore the folder from a copy, or start a new run",
    )


def _contents(
    model: Mapping[str, Tensor], tensors: Mapping[str, Tensor], values: bytes, whole: Whole
) -> Iterator[tuple[str, Iterable[bytes | memoryview]]]:
    """Yield each file's name and content, in parts because they are large."""
    yield FILES[0], parts_of(model, whole)
    yield FILES[1], parts_of(tensors, whole)
    yield FILES[2], [values]


def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return read(content)
    except ValueError as error:
        raise _not_of_a_checkpoint(path, error) from error


def _not_of_a_checkpoint(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: not a checkpoint file", shorten(str(error)), ANOTHER)


def _give_name(finished: Path, path: Path) -> None:
    """Rename a complete folder to a checkpoint's name, replacing an older one of that name."""
    replaced = path.with_name(REPLACED + path.name)
    if os.path.lexists(path):
        path.rename(replaced)
    finished.rename(path)
    sync_directory(path.parent)
    _clear_up(path.parent)


def _clear_up(directory: Path) -> None:
    """Remove unfinished and replaced folders, ignoring errors of the file system."""
    leftovers: list[Path] = []
    with suppress(OSError):
        leftovers += directory.glob(".*-step-*")
    for path in leftovers:
        with suppress(OSError):
            if path.name.startswith((UNFINISHED, REMOVED)):
                remove(path)
            elif path.name.startswith(REPLACED):
                original = path.with_name(_own_name(path))
                if os.path.lexists(original):
                    remove(path)
                else:
                    path.rename(original)
