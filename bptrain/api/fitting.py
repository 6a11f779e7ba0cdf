"""`bptrain.fit` and its like: a run, trained, begun from weights, or read from its folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bptrain.api.given_config import Config, File, console_for, folder_of, given
from bptrain.api.run import Run
from bptrain.commands.fit import Start, trained
from bptrain.commands.import_weights import import_weights as begin_run_of
from bptrain.errors import UsageError
from bptrain.experiment.saved_run import Choice
from bptrain.train.signals import StopRequest

STARTS = {False: Start.NEW, True: Start.RESUMED, "auto": Start.AUTO}


def fit(
    config: Config,
    words: Sequence[str] = (),
    run_dir: File | None = None,
    *,
    resume: bool | Literal["auto"] = False,
    progress: bool = False,
    **overrides: Any,
) -> Run:
    """Train an experiment as `bptrain fit` does, and return its run.

    config     a config file, YAML text (of several lines, or in braces), a mapping, or a config
               that `bptrain.validate` returned
    words      `key.path=value` words as on the command line
    run_dir    the run's folder; None for runs/NAME, or NAME-2 and so on where that is there
    resume     False for a new run; True to continue one from its newest checkpoint, to the same
               result as if it had never stopped; "auto" for a new one where there is none
    progress   print the command's lines of progress on stdout; else nothing is printed
    overrides  keys to change, two underscores for a point: `optimizer__lr=0.1`, `seed=1`,
               `schedule={"kind": "cosine"}` in place of the whole section

    Raises the command's errors (`bptrain.errors`), never SystemExit. Ctrl-C, or a notebook's stop
    button, raises KeyboardInterrupt at once: `resume=True` continues from the newest checkpoint.
    Torch's generators, default dtype and other settings are the caller's again after it, and have
    no effect on the run: it computes the numbers of a process of its own with as many threads.
    """
    if resume not in STARTS:
        raise UsageError(f"resume={resume!r}", 'it is False, True or "auto"')
    console = console_for(progress)
    with given(config, words, overrides) as checked:
        run = trained(checked, folder_of(run_dir), STARTS[resume], console, StopRequest())
    return Run(run)


def import_weights(
    file: File,
    config: Config,
    words: Sequence[str] = (),
    run_dir: File | None = None,
    *,
    partial: bool = False,
    **overrides: Any,
) -> Run:
    """Return a run that starts from weights of another program, as `bptrain import`; train nothing.

    file     a state_dict of torch.nn or torchvision, or safetensors; no code in it is run
    partial  take what fits, and leave the other weights as the config initializes them

    `bptrain.fit(config, run_dir=run, resume=True)` trains it. The other arguments are those of
    `bptrain.fit`. Raises CheckpointError for a file that is damaged or does not fit the model.
    """
    with given(config, words, overrides) as checked:
        folder = begin_run_of(
            Path(file), checked, folder_of(run_dir), partial, console_for(False), StopRequest()
        )
    return Run(folder)


def load(run: File, checkpoint: Choice = "best", device: str | None = None) -> Run:
    """Return a run from its folder, also one that is still training or that failed.

    run         the folder
    checkpoint  which state `model`, `predict` and `evaluate` use: best or last
    device      where they compute, in place of the config's, such as "cpu"

    Raises UsageError for a folder without a run, CheckpointError for an edited or damaged config.
    """
    return Run(run, checkpoint, device)
