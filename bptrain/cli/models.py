"""The commands about a config's model and its training step: their options, one call each."""

from pathlib import Path
from typing import Annotated

import typer

from bptrain.commands.arguments import (
    ConfigPath,
    Goal,
    GradientMethods,
    Overrides,
    SearchKind,
    SearchWords,
)
from bptrain.commands.exit_codes import errors_to_exit_codes
from bptrain.commands.importing import importing
from bptrain.commands.output import Output
from bptrain.config import load_config, naming_lines
from bptrain.train.signals import StopRequest


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


def sweep_command(
    config: ConfigPath,
    overrides: SearchWords,
    trials: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="20, or all combinations of lists")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=1024, help="how many runs at a time")] = 1,
    search: Annotated[
        SearchKind | None,
        typer.Option(help="how values are drawn: grid where all are lists, else tpe"),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="TAG", help="what is compared, in place of checkpoint.best_by"),
    ] = None,
    goal: Annotated[Goal | None, typer.Option(help="it follows from the metric")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="runs of each trial")] = 1,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="a database that several machines share"),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="of the runs, in place of runs/NAME-sweep")
    ] = None,
    prune: Annotated[
        bool | None,
        typer.Option("--prune/--no-prune", help="stop trials worse than the median, as tpe does"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Search for the best values of CONFIG's keys, by many runs."""
    with errors_to_exit_codes(), naming_lines(config, overrides), StopRequest() as stop:
        with stop.noted(), importing():
            from bptrain.commands.sweep import SweepOptions, sweep

        kind, aim = search and search.value, goal and goal.value
        options = SweepOptions(
            *(trials, jobs, kind, metric, aim, seeds, storage, folder, prune, as_json)
        )
        sweep(config, overrides, options, Output(), stop)


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
