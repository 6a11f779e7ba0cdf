"""The commands and their options, one call each. Importing this does not import torch."""

from pathlib import Path
from typing import Annotated

import typer

from bptrain import __version__
from bptrain.commands.arguments import (
    RESUME_AUTO,
    Checkpoint,
    ConfigPath,
    Evaluates,
    FitCommand,
    GradientMethods,
    Kind,
    ManyRuns,
    OneOrTwoRuns,
    Overrides,
    ReportFile,
    RunPath,
    SortKey,
    refuse_together,
)
from bptrain.commands.exit_codes import errors_to_exit_codes, run_command_line
from bptrain.commands.importing import importing
from bptrain.commands.output import Output
from bptrain.config import load_config, naming_lines
from bptrain.errors import UsageError
from bptrain.train.signals import StopRequest

app = typer.Typer(
    name="bptrain",
    help="Train networks whose backpropagation is written out by hand.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("fit", cls=FitCommand)
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


@app.command("evaluate")
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
        with importing():
            from bptrain.commands.predict import predict, printing
            from bptrain.tasks.text_sampling import SamplingOptions

        show = printing(as_json, as_csv)
        options = SamplingOptions.of(length, temperature, seed)
        show(predict(run, inputs, checkpoint.value, options))


@app.command("diagnose")
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


@app.command("report")
def report_command(
    runs: OneOrTwoRuns, output: ReportFile = None, evaluate: Evaluates = True
) -> None:
    """Write an HTML page about RUN, or about two side by side."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.report import report

        report(runs, output, evaluate, Output())


@app.command("compare")
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
        with importing():
            from bptrain.commands.check import check
            from bptrain.experiment.config import ExperimentConfig

        loaded = load_config(ExperimentConfig, config, overrides or [])
        check(loaded, as_json, junit, Output())


@app.command("bench")
def bench_command(
    config: ConfigPath,
    overrides: Overrides = None,
    turns: Annotated[
        int, typer.Option(min=3, max=100_000, help="how often each alternative is timed")
    ] = 25,
    with_compiler: Annotated[
        bool,
        typer.Option("--compile/--no-compile", help="time torch.compile too, which takes a minute"),
    ] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="write the results as JSON")
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="draw them: .png, .svg or .pdf")
    ] = None,
    gradient_methods: GradientMethods = False,
) -> None:
    """Compare CONFIG's training step with torch.nn's in time and memory."""
    with errors_to_exit_codes(), naming_lines(config, overrides or []):
        with importing():
            from bptrain.commands.bench import BenchOptions, bench
            from bptrain.commands.gradient_methods import bench_gradient_methods
            from bptrain.experiment.config import ExperimentConfig

        loaded = load_config(ExperimentConfig, config, overrides or [])
        options = BenchOptions(turns, with_compiler, json_file, chart)
        (bench_gradient_methods if gradient_methods else bench)(loaded, options, Output())


@app.command("lr")
def lr_command(
    config: ConfigPath,
    overrides: Overrides = None,
    lowest: Annotated[float, typer.Option("--from", min=1e-12, help="the first rate")] = 1e-6,
    highest: Annotated[float, typer.Option("--to", max=1e6, help="the last rate")] = 10.0,
    steps: Annotated[int, typer.Option(min=20, max=100_000, help="one rate each")] = 100,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="write the curve as JSON")
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="draw the curve: .png, .svg or .pdf")
    ] = None,
    board: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="write the curve for TensorBoard")
    ] = None,
) -> None:
    """Suggest a learning rate for CONFIG, by a short run that tries them all."""
    with errors_to_exit_codes(), naming_lines(config, overrides or []), StopRequest():
        with importing():
            from bptrain.commands.lr import RateOptions, suggest_rate
            from bptrain.experiment.config import ExperimentConfig

        loaded = load_config(ExperimentConfig, config, overrides or [])
        options = RateOptions(lowest, highest, steps, json_file, chart, board)
        suggest_rate(loaded, options, Output())


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
        with importing():
            from bptrain.commands.verify_resume import verify_resume
            from bptrain.experiment.config import ExperimentConfig

        loaded = load_config(ExperimentConfig, config, overrides or [])
        verify_resume(loaded, steps, kills, as_json)


@app.command("replay")
def replay_command(
    run: RunPath,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Repeat the step of a RUN that was not finite, and name the first operation that was so."""
    with errors_to_exit_codes():
        from bptrain.commands.replay import replay

        replay(run, as_json, Output())


@app.command("tape")
def tape_command(
    config: ConfigPath,
    overrides: Overrides = None,
    recorded: Annotated[
        bool,
        typer.Option(
            "--recorded", help="each layer's own operation, before any are fused or recomputed"
        ),
    ] = False,
) -> None:
    """Print the training step of CONFIG as it runs, as Python, forward and backward."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.tape import tape
            from bptrain.experiment.config import ExperimentConfig

        tape(load_config(ExperimentConfig, config, overrides or []), recorded, Output())


@app.command("explain")
def explain_command(
    config: ConfigPath,
    overrides: Overrides = None,
    sample: Annotated[
        int, typer.Option(min=0, help="number of the training sample, counted from 0")
    ] = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=10**9,
            help="training steps to take before: 0 on a terminal; a page shows the way to 100",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write a page with pictures and a slider")
    ] = None,
) -> None:
    """Show a training step of CONFIG as the chain rule, with the network's own numbers."""
    with errors_to_exit_codes(), naming_lines(config, overrides or []):
        from bptrain.commands.explain import ExplainOptions, explain
        from bptrain.experiment.config import ExperimentConfig

        loaded = load_config(ExperimentConfig, config, overrides or [])
        explain(loaded, ExplainOptions(sample, steps, html), Output())


@app.command("validate")
def validate_command(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG")] = None,
    overrides: Overrides = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema")] = False,
) -> None:
    """Check CONFIG and report every error in it; run nothing."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.validate import print_schema, validate

        if schema:
            print_schema()
        elif config is None:
            raise UsageError("validate needs a CONFIG, or --schema")
        else:
            validate(config, overrides or [])


@app.command()
def init(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="mlp, cnn, rnn or sequential")],
) -> None:
    """Print a commented starter config."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.init import print_starter_config

        print_starter_config(kind.value)


@app.command()
def doctor() -> None:
    """Show the torch build, devices, threads, shared memory and versions."""
    with errors_to_exit_codes():
        with importing():
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


def main() -> None:
    """Run the command line."""
    run_command_line(app)
