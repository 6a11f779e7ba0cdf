"""`export`: a run's model in a file that programs without bptrain read."""

from pathlib import Path

import torch
from rich.console import Console

from bptrain.errors import StorageError, UsageError
from bptrain.experiment.best_state import best_by
from bptrain.experiment.exporting import description, format_of, refuse_other_outputs
from bptrain.experiment.saved_run import (
    Choice,
    choose_checkpoint,
    load_model,
    read_config,
    restore,
)
from bptrain.models.plain_code import plain_code, plain_model
from bptrain.rundir.durable_files import replace_file, storing
from bptrain.rundir.prepared import read_prepared
from bptrain.train.memory import allocating

OTHERWISE = "name another file"


def export(
    run_dir: Path, path: Path, source: Path | None, which: Choice, force: bool, console: Console
) -> None:
    """Write the run's model, what to do before and after it, and its code if that is asked for.

    Raises UsageError for an unknown format and for a file that is there, StorageError where one
    cannot be written.
    """
    write = format_of(path)
    described = path.with_name(f"{path.name}.json")
    wanted = [path, described, *([] if source is None else [source])]
    refuse_to_overwrite(wanted, force)
    config = read_config(run_dir)
    problem, prepared = read_prepared(run_dir)
    checkpoint = choose_checkpoint(run_dir, which, best_by(config, problem))
    with allocating():
        model = restore(config, problem, 0, torch.device("cpu"))
        load_model(model, checkpoint)
        exported = plain_model(model)
        difference = refuse_other_outputs(model, exported, problem)
        name = run_dir.resolve().name
        contents = {
            path: b"",
            described: description(name, checkpoint, config, problem, prepared),
        }
        if source is not None:
            contents[source] = plain_code(exported, f"The model of the run {name}.").encode()
        contents[path] = write(exported, problem)
    for each, content in contents.items():
        with storing(each, OTHERWISE):
            replace_file(each, content)
    names = ", ".join(map(str, contents))
    console.print(
        f"{names}: the model of {checkpoint.name}; its outputs differ from the run's by "
        f"{difference:.1e} at most",
        soft_wrap=True,
    )


def refuse_to_overwrite(paths: list[Path], force: bool) -> None:
    """Raise an error before anything is computed, if a file could not be written after it."""
    if len(set(paths)) < len(paths):
        raise UsageError(f"{paths[-1]}: named twice", hint="another name for --code")
    for path in paths:
        if not path.parent.is_dir():
            raise StorageError(f"{path}: cannot be written", f"there is no folder {path.parent}")
        if path.exists() and not force:
            raise UsageError(f"{path}: is there already", hint="another name, or --force")
