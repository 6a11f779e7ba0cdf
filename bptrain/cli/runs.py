"""The commands that train, and those about a run: their options, one call each."""

from pathlib import Path
from typing import Annotated

import typer

from bptrain.commands.arguments import (
    RESUME_AUTO,
    Checkpoint,
    ConfigPath,
    Evaluates,
    Host,
    ManyRuns,
    OneOrTwoRuns,
    Overrides,
    Port,
    ReportFile,
    RunPath,
    RunsFolder,
    SortKey,
    refuse_together,
)
from bptrain.commands.exit_codes import errors_to_exit_codes
from bptrain.commands.importing import importing
from bptrain.commands.output import Output
from bptrain.config import load_config, naming_lines
from bptrain.train.signals import StopRequest


def fit_command(
    config: ConfigPath,
    overrides: Overrides = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="the run's folder, in place of runs/NAME")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="resume from the newest valid checkpoint; --resume=auto starts a new run if there "
            "is none",
        ),
    ] = False,
    resume_auto: Annotated[bool, typer.Option(RESUME_AUTO, hidden=True)] = False,
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
        with stop.noted(), importing():  # raised inside of it, it is lost or leaves half a module
            from bptrain.commands.fit import Start, dev_run, fit, overfit
            from bptrain.commands.fit import dry_run as show_plan
            from bptrain.experiment.config import ExperimentConfig

        loaded = load_config(ExperimentConfig, config, overrides or [])
        refuse_together({"--resume": resume, "--resume=auto": resume_auto, **alone}, run_dir)
        if dry_run:
            show_plan(loaded, Output(), stop)
        elif fast_dev_run:
            dev_run(loaded, Output(), stop)
        elif overfit_one_batch:
            overfit(loaded, Output(), stop)
        else:
            start = Start.AUTO if resume_auto else Start.RESUMED if resume else Start.NEW
            fit(loaded, run_dir, start, Output(), stop)


def board_command(runs: RunsFolder = Path("runs"), host: Host = None, port: Port = None) -> None:
    """Show RUNS in TensorBoard, each by its own name."""
    with errors_to_exit_codes(), StopRequest():
        with importing():
            from bptrain.commands.board import board

        board(runs, host, port, Output())


def evaluate_command(
    run: RunPath,
    files: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="labelled data to evaluate, not the test split"),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="where the data lies now, such as root=DIR"),
    ] = None,
    checkpoint: Annotated[Checkpoint, typer.Option(help="which state")] = Checkpoint.best,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print a run's loss and metrics on the test split, or on new labelled DATA."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.evaluate import evaluate

        evaluate(run, files, data or [], checkpoint.value, as_json)


def predict_command(
    run: RunPath,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="files, folders, patterns, or text for a model of text; - reads standard input",
        ),
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
        with importing():
            from bptrain.commands.predict_many import predict_many, printer
            from bptrain.tasks.text_sampling import SamplingOptions

        show = printer(as_json, as_csv)
        options = SamplingOptions.of(length, temperature, seed)
        predict_many(run, inputs, checkpoint.value, options, show)


def export_command(
    run: RunPath,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="ends in .safetensors, .pt, .pt2 or .onnx"),
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            "--code", metavar="FILE.py", help="write the model's code too, which needs only torch"
        ),
    ] = None,
    checkpoint: Annotated[Checkpoint, typer.Option(help="which state")] = Checkpoint.best,
    force: Annotated[bool, typer.Option("--force", help="replace files that are there")] = False,
) -> None:
    """Write RUN's model into FILE, for programs without bptrain."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.export import export

        export(run, file, source, checkpoint.value, force, Output())


def import_command(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="a state_dict: .pt, .pth, .bin, .ckpt or .safetensors"),
    ],
    config: ConfigPath,
    overrides: Overrides = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="the run's folder, in place of runs/NAME")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="take what fits; the rest stays as initialized")
    ] = False,
) -> None:
    """Begin a run of CONFIG with the weights in FILE."""
    with errors_to_exit_codes(), naming_lines(config, overrides or []), StopRequest() as stop:
        with importing():
            from bptrain.commands.import_weights import import_weights
            from bptrain.experiment.config import ExperimentConfig

        loaded = load_config(ExperimentConfig, config, overrides or [])
        import_weights(file, loaded, run_dir, partial, Output(), stop)


def serve_command(
    run: RunPath,
    host: Annotated[
        str, typer.Option(help="address to listen at; 0.0.0.0 for other machines, without a login")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free")] = 8000,
    checkpoint: Annotated[Checkpoint, typer.Option(help="which state")] = Checkpoint.best,
    max_mb: Annotated[float, typer.Option(min=0.001, max=1024, help="of a request")] = 32.0,
    max_samples: Annotated[
        int, typer.Option(min=1, max=100_000, help="of a request: inputs, or rows in its files")
    ] = 1_000,
    max_requests: Annotated[
        int, typer.Option(min=1, max=1_000, help="at a time; more are refused with status 429")
    ] = 16,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=3600, help="seconds to send a request, and to answer it")
    ] = 30.0,
) -> None:
    """Answer HTTP requests by RUN's model, with a page to try it."""
    with errors_to_exit_codes(), StopRequest():
        with importing():
            from bptrain.commands.serve import serve
            from bptrain.commands.serving.limits import Limits

        limits = Limits(round(max_mb * 2**20), max_samples, max_requests, timeout)
        serve(run, checkpoint.value, (host, port), limits, Output())


def diagnose_command(
    run: RunPath,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    fail_on: Annotated[
        str, typer.Option(metavar="KIND,...", help="end with exit code 11 at these verdicts")
    ] = "",
) -> None:
    """Say why RUN does not learn, and what to change."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.diagnose import diagnose

        diagnose(run, as_json, [kind for kind in fail_on.split(",") if kind], Output())


def report_command(
    runs: OneOrTwoRuns, output: ReportFile = None, evaluate: Evaluates = True
) -> None:
    """Write an HTML page about RUN, or about two side by side."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.report import report

        report(runs, output, evaluate, Output())


def compare_command(
    runs: ManyRuns,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    sort: SortKey = "",
) -> None:
    """Print a table of many runs: how their configs differ, metrics, verdicts."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.compare import compare

        compare(runs, as_json, sort, Output())


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
        with importing():
            from bptrain.commands.verify_resume import verify_resume
            from bptrain.experiment.config import ExperimentConfig

        loaded = load_config(ExperimentConfig, config, overrides or [])
        verify_resume(loaded, steps, kills, as_json)


def replay_command(
    run: RunPath,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Repeat the step of a RUN that was not finite, and name the first operation that was so."""
    with errors_to_exit_codes():
        from bptrain.commands.replay import replay

        replay(run, as_json, Output())
