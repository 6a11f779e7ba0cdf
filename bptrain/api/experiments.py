"""The commands about a config, as functions; and the table of many runs."""

import warnings
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from bptrain.api.given_config import Config, File, given
from bptrain.bench.step import measure_step as measure
from bptrain.bench.step_results import StepResults
from bptrain.commands.bench import subject_of
from bptrain.commands.check import check_gradients
from bptrain.commands.explain import ExplainOptions
from bptrain.commands.explain import explain as print_explanation
from bptrain.commands.init import config_text
from bptrain.commands.tape import tape as print_program
from bptrain.errors import UsageError
from bptrain.experiment.batch_size import plan_for_training
from bptrain.experiment.build import build
from bptrain.experiment.comparing import compared, sorted_by
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.rate_range import RateRange, try_rates
from bptrain.train.memory import allocating
from bptrain.verify import Report

if TYPE_CHECKING:
    import polars as pl

FEWEST_TURNS = 3  # for quartiles
WIDTH = 100  # characters of a line of text that is returned


def validate(config: Config, words: Sequence[str] = (), **overrides: Any) -> ExperimentConfig:
    """Return a checked config with every default filled in, as `bptrain validate` checks it.

    The arguments are those of `bptrain.fit`. Raises ConfigErrors with everything that is wrong.
    """
    with given(config, words, overrides) as checked:
        return checked


def starter_config(
    kind_or_path: str,
    target: str | None = None,
    model: Literal["transformer", "pretrained"] | None = None,
) -> str:
    """Return a commented config as YAML, as `bptrain init` prints it.

    kind_or_path  a kind of model or data, such as mlp, or the path of data to look at
    target        the column or array to predict, of data at a path; None to guess it
    model         the kind of model for the data; None for one that suits it

    Raises UsageError for an unknown kind and a model that does not fit, DataError for data that
    cannot be read.
    """
    return config_text(kind_or_path, target, model)


def check(config: Config, words: Sequence[str] = (), **overrides: Any) -> Report:
    """Prove every gradient of a config's model and loss, and return the report.

    `report.ok` tells whether all are right, `print(report)` shows those that are not, `report.rows`
    are the comparisons. A wrong gradient raises nothing here, while `bptrain check` exits with 11.
    The arguments are those of `bptrain.fit`.
    """
    with given(config, words, overrides) as checked:
        return check_gradients(checked)


def suggest_lr(
    config: Config,
    words: Sequence[str] = (),
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    **overrides: Any,
) -> RateRange:
    """Try learning rates in a short run that is thrown away, as `bptrain lr` does.

    lowest, highest  rates; they grow by a constant factor a step
    steps            at most; fewer where the loss diverges

    Returns the `rates`, the `losses`, these `smoothed`, and a `suggestion`, which is None where no
    rate lowers the loss. The other arguments are those of `bptrain.fit`. Raises UsageError for an
    optimizer that searches for its own step. Source: Smith 2017, arXiv 1506.01186, section 3.3.
    """
    if not 0 < lowest < highest:
        raise UsageError(f"lowest {lowest:g} is not between 0 and highest {highest:g}")
    with given(config, words, overrides) as checked, allocating():
        return try_rates(build(plan_for_training(checked)), lowest, highest, steps)


def explain(
    config: Config,
    words: Sequence[str] = (),
    *,
    sample: int = 0,
    steps: int | None = None,
    page: File | None = None,
    **overrides: Any,
) -> str:
    """Return a training step as the chain rule with the network's own numbers, as text.

    sample  number of the training sample, from 0
    steps   training steps to take before; None for 0, and for the way to 100 on a page
    page    an HTML file to write with pictures and a slider; the text is then where it is

    The other arguments are those of `bptrain.fit`. Raises UsageError where the tape cannot run the
    step, StorageError where the page cannot be written.
    """
    options = ExplainOptions(sample, steps, None if page is None else Path(page))
    with given(config, words, overrides) as checked:
        return _printed(lambda console: print_explanation(checked, options, console))


def step_program(
    config: Config, words: Sequence[str] = (), *, as_recorded: bool = False, **overrides: Any
) -> str:
    """Return the training step as it runs, as Python, forward and backward, as `bptrain tape`.

    as_recorded  each layer's own operation, before any are fused or recomputed

    The other arguments are those of `bptrain.fit`. Raises UsageError where it cannot be recorded.
    """
    with given(config, words, overrides) as checked:
        return _printed(lambda console: print_program(checked, as_recorded, console))


def measure_step(
    config: Config,
    words: Sequence[str] = (),
    *,
    turns: int = 25,
    with_compiler: bool = True,
    **overrides: Any,
) -> StepResults:
    """Measure time (s) and memory (bytes) of the training step beside torch.nn's: `bptrain bench`.

    turns          how often each alternative is timed, at least 3
    with_compiler  time torch.compile too, which takes a minute

    The other arguments are those of `bptrain.fit`. Raises GradientError if ours computes other
    gradients than torch.nn.
    """
    if turns < FEWEST_TURNS:
        raise UsageError(f"turns={turns}", f"it is at least {FEWEST_TURNS}")
    with given(config, words, overrides) as checked, allocating():
        return measure(subject_of(plan_for_training(checked)), turns, with_compiler)


def compare(*places: File, sort: str = "") -> "pl.DataFrame":
    """Return many runs as a frame, a row for each: configs, verdicts, metrics.

    places  folders, each a run's or one that holds runs
    sort    a column: of a metric best first, of others smallest first

    `run` is the folder, `task` the task; then the config's keys that differ, `ending` in words, the
    kinds of the `verdicts`, `best VAL_TAG` at `best_step`, the last value of each metric by tag,
    `step`, and `time_s` of training. Null where a run has none. Runs that cannot be read are left
    out with a warning; UsageError if there is no other.
    """
    from bptrain.api.frames import comparison_frame

    found = compared([Path(each) for each in places])
    for each in found.unreadable:
        warnings.warn(f"left out: {each}", stacklevel=2)
    if not found.rows:
        raise UsageError("none of the runs can be read", hint="`bptrain report RUN` says more")
    return comparison_frame(sorted_by(found, sort) if sort else found.rows)


def _printed(print_on: Callable[[Console], None]) -> str:
    """Return what a command prints on a console, as plain text."""
    text = StringIO()
    print_on(
        Console(
            file=text,
            width=WIDTH,
            markup=False,
            emoji=False,
            force_terminal=False,
            force_jupyter=False,
        )
    )
    return text.getvalue()
