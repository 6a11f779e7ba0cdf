"""The commands: words typed by a person, one call each. Importing this leaves torch out."""

import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from errno import EDQUOT, EFBIG, ENOMEM, ENOSPC
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bptrain import __version__
from bptrain.config import json_schema, load_config, naming_lines, starter
from bptrain.errors import (
    BptrainError,
    CheckpointError,
    GradientError,
    MemoryExhaustedError,
    StorageError,
    UsageError,
    exit_code_of,
)
from bptrain.train.signals import StopNow, StopRequest

app = typer.Typer(
    name="bptrain",
    help="Train networks whose backpropagation is written out by hand.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SIGPIPE = getattr(signal, "SIGPIPE", 13)  # which Windows does not have
WHERE_GRADIENTS_ARE = "the backward of that layer: the rows marked WRONG name element and values"

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="the experiment, a YAML file")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="keys to change, such as optimizer.lr=0.01"),
]


RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder")]


class Output(Console):
    """The terminal, or where stdout leads."""

    def on_broken_pipe(self) -> None:
        """Pass on that the reader went away; Rich would exit with 1, which is a bug's code."""
        raise BrokenPipeError


class Checkpoint(StrEnum):
    """Which state of a run."""

    best = "best"
    last = "last"


class Kind(StrEnum):
    """Starter configs."""

    mlp = "mlp"
    cnn = "cnn"
    rnn = "rnn"
    sequential = "sequential"


@app.command("fit")
def fit_command(
    config: ConfigPath,
    overrides: Overrides = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="the run's folder, in place of runs/NAME")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="resume from the newest valid checkpoint")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show shapes, parameters and memory; train nothing")
    ] = False,
    fast_dev_run: Annotated[
        bool, typer.Option("--fast-dev-run", help="a few steps of everything; leave nothing behind")
    ] = False,
    overfit_one_batch: Annotated[
        bool,
        typer.Option("--overfit-one-batch", help="can the model overfit its first batch?"),
    ] = False,
) -> None:
    """Train the experiment of CONFIG and test it."""
    alone = {
        "--dry-run": dry_run,
        "--fast-dev-run": fast_dev_run,
        "--overfit-one-batch": overfit_one_batch,
    }
    with errors_to_exit_codes(), naming_lines(config, overrides or []), StopRequest() as stop:
        with stop.noted():  # raised inside an import, it is swallowed or leaves half a module
            from bptrain.commands.fit import dev_run, fit, overfit
            from bptrain.commands.fit import dry_run as show_plan
            from bptrain.experiment.config import ExperimentConfig

        loaded = load_config(ExperimentConfig, config, overrides or [])
        refuse_together({"--resume": resume, **alone}, run_dir)
        if dry_run:
            show_plan(loaded, Output(), stop)
        elif fast_dev_run:
            dev_run(loaded, Output(), stop)
        elif overfit_one_batch:
            overfit(loaded, Output(), stop)
        else:
            fit(loaded, run_dir, resume, Output(), stop)


def refuse_together(options: dict[str, bool], run_dir: Path | None) -> None:
    """Raise UsageError for two options of which each is a way to run, or for one without a run."""
    given = [option for option, is_given in options.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other")
    if run_dir is not None and given and given != ["--resume"]:
        raise UsageError(f"{given[0]} leaves no run behind", hint="leave --run-dir out")


@app.command()
def evaluate(
    run: RunPath,
    checkpoint: Annotated[Checkpoint, typer.Option(help="which state")] = Checkpoint.best,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print a run's loss and metrics on the test split."""
    with errors_to_exit_codes():
        from bptrain.commands.evaluate import evaluate_run
        from bptrain.experiment.evaluation import save_pictures
        from bptrain.monitor.console import lines_of

        evaluation = evaluate_run(run, checkpoint.value)
        if as_json:
            print(json.dumps({"checkpoint": evaluation.checkpoint, **evaluation.values}))
        else:
            rows = [[name, f"{value:.6g}"] for name, value in evaluation.values.items()]
            print("\n".join(lines_of([["checkpoint", evaluation.checkpoint], *rows])))
            for each in evaluation.figures:
                if each.rows:
                    print("\n".join(["", *lines_of(each.rows)]))
        for path in save_pictures(run, evaluation):
            if not as_json:
                print(f"picture {path}")


@app.command("predict")
def predict_command(
    run: RunPath,
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="files, or text for a model of text")
    ],
    checkpoint: Annotated[Checkpoint, typer.Option(help="which state")] = Checkpoint.best,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON list")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
    length: Annotated[
        int | None, typer.Option(min=0, max=1_000_000, help="symbols that a language model writes")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="of its writing: 0 takes the likeliest, 1 draws as it says")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="of what it draws")] = None,
) -> None:
    """Print what a run's model says of each INPUT, or writes on from it."""
    with errors_to_exit_codes():
        from bptrain.commands import predict as predicting
        from bptrain.monitor.console import lines_of
        from bptrain.tasks.text_sampling import SamplingOptions

        if as_json and as_csv:
            raise UsageError("--json and --csv exclude each other")
        options = SamplingOptions.of(length, temperature, seed)
        predictions = predicting.predict(run, inputs, checkpoint.value, options)
        if as_json:
            print(json.dumps(predictions))
        elif as_csv:
            print(predicting.as_csv(predictions), end="")
        else:
            print("\n".join(lines_of(predicting.as_rows(predictions))))


@app.command("check")
def check_command(
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    junit: Annotated[
        Path | None, typer.Option(help="write the comparisons as JUnit XML into this file")
    ] = None,
) -> None:
    """Prove every hand-written gradient of CONFIG's model."""
    with errors_to_exit_codes(), naming_lines(config, overrides or []):
        from bptrain.commands.check import check_gradients
        from bptrain.experiment.config import ExperimentConfig
        from bptrain.rundir.durable_files import storing

        report = check_gradients(load_config(ExperimentConfig, config, overrides or []))
        if junit is not None:
            with storing(junit):
                junit.write_text(report.as_junit(), encoding="utf-8")
        if as_json:
            print(report.as_json())
        else:
            console = Output()
            console.print(report.table())
            print("\n".join([*report.notes, report.summary]))
        if not report.ok:
            raise GradientError(report.summary, hint=WHERE_GRADIENTS_ARE)


@app.command("verify-resume")
def verify_resume_command(
    config: ConfigPath,
    overrides: Overrides = None,
    steps: Annotated[
        int | None, typer.Option(min=2, max=10**6, help="of the run that is compared")
    ] = None,
    kills: Annotated[int, typer.Option(min=1, max=100, help="how often it is killed")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON list")] = False,
) -> None:
    """Kill CONFIG's run, resume it, and compare it bit for bit with one left alone."""
    with errors_to_exit_codes(), naming_lines(config, overrides or []), StopRequest():
        from bptrain.commands.verify_resume import verify_resume
        from bptrain.experiment.config import ExperimentConfig
        from bptrain.monitor.console import lines_of

        compared = verify_resume(
            load_config(ExperimentConfig, config, overrides or []), steps, kills
        )
        if as_json:
            print(json.dumps([each._asdict() for each in compared]))
        else:
            rows = [
                [each.what, f"{each.compared:,}", each.difference or "same"] for each in compared
            ]
            print("\n".join(lines_of([["what", "compared", "result"], *rows])))
        different = [each for each in compared if each.difference]
        if different:
            raise CheckpointError(
                f"resume is not exact: {different[0].what}", different[0].difference
            )


@app.command()
def validate(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG")] = None,
    overrides: Overrides = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema")] = False,
) -> None:
    """Check CONFIG and report every error in it; run nothing."""
    with errors_to_exit_codes():
        from bptrain.experiment.config import ExperimentConfig

        if schema:
            print(json.dumps(json_schema(ExperimentConfig), indent=2))
        elif config is None:
            raise UsageError("validate needs a CONFIG, or --schema")
        else:
            load_config(ExperimentConfig, config, overrides or [])
            print(f"{config}: valid")


@app.command()
def init(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="mlp, cnn, rnn or sequential")],
) -> None:
    """Print a commented starter config."""
    with errors_to_exit_codes():
        from bptrain.commands.init import FOR_EDITORS, starter_config

        print(FOR_EDITORS + starter(starter_config(kind.value)), end="")


@app.command()
def doctor() -> None:
    """Show the torch build, devices, threads, shared memory and versions."""
    with errors_to_exit_codes():
        from bptrain.commands.doctor import print_machine

        print_machine(Output())


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[
        bool, typer.Option("--version", help="print the version", is_eager=True)
    ] = False,
) -> None:
    """Train networks whose backpropagation is written out by hand."""
    if show:
        print(f"bptrain {__version__}")
        raise typer.Exit


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """Print an error in at most six lines and end with its documented exit code."""
    try:
        yield
    except BptrainError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(exit_code_of(error)) from error
    except KeyboardInterrupt as error:
        number = error.signal_number if isinstance(error, StopNow) else signal.SIGINT
        print("error: stopped; nothing was left to save", file=sys.stderr)
        raise typer.Exit(128 + number) from error
    except typer.Exit:
        raise
    except BrokenPipeError as error:  # the reader, such as `head`, has seen enough
        _drop_output()
        raise typer.Exit(128 + SIGPIPE) from error
    except Exception as error:
        told = _output_refused(error) or _memory_refused(error) or _bug_report(error)
        print(told, file=sys.stderr)
        raise typer.Exit(told.exit_code) from error


def _drop_output() -> None:
    """Let what is left to be printed go nowhere, or the flush at exit would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_refused(error: Exception) -> BptrainError | None:
    """Return the message for a disk that is full where the output is to go; else None."""
    if not isinstance(error, OSError) or error.errno not in (ENOSPC, EDQUOT, EFBIG):
        return None
    _drop_output()
    return StorageError(
        "the output cannot be written",
        error.strerror or str(error),
        "free space or let it go elsewhere",
    )


def _memory_refused(error: Exception) -> BptrainError | None:
    """Return the message for memory that is used up where nobody works with tensors; else None."""
    is_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == ENOMEM
    return MemoryExhaustedError.of(str(error)) if is_memory else None


def _bug_report(error: Exception) -> BptrainError:
    """Return the message for an error nobody foresaw, its traceback put into a file."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="bptrain-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write("".join(traceback.format_exception(error)))
    return BptrainError(
        "a bug in bptrain",
        f"{type(error).__name__}: {error}",
        f"report it with the traceback in {file.name}",
    )


def main() -> None:
    """Run the command line."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # or what its file refuses would be found when nobody can tell
    except OSError as error:
        told = _output_refused(error)
        if told is not None:
            print(told, file=sys.stderr)
            sys.exit(told.exit_code)
        if not isinstance(error, BrokenPipeError):
            raise
        _drop_output()
        sys.exit(128 + SIGPIPE)
