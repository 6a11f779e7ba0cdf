"""`bench --gradient-methods`: one backward pass beside finite differences and forward mode."""

import json
from dataclasses import asdict

from rich.console import Console

from bptrain.bench.chart import draw_panels
from bptrain.bench.gradient_methods import (
    BACKWARD,
    DIFFERENCES,
    FEWEST_SIZES,
    FORWARD_MODE,
    MOST_S,
    MethodsResults,
    SizeResult,
    laws_of,
    measure_size,
)
from bptrain.bench.paired import machine
from bptrain.bench.widths import at_width
from bptrain.commands.bench import BenchOptions, shown_progress, subject_of
from bptrain.commands.bench_report import plain_table, say
from bptrain.commands.output_files import refuse_unwritable
from bptrain.errors import UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.rundir.durable_files import storing
from bptrain.train.memory import allocating

SAMPLES = 8  # of the batch: more would slow every method alike
WIDTHS = tuple(2.0**-power for power in range(12, -1, -1))
METHODS = (BACKWARD, DIFFERENCES, FORWARD_MODE)


def bench_gradient_methods(
    config: ExperimentConfig, options: BenchOptions, console: Console
) -> None:
    """Measure the methods on the config's model at growing widths; print and store the results."""
    refuse_unwritable(options.json, options.chart)
    with allocating():
        results = measure_methods(config)
    print_methods(results, console)
    if options.json is not None:
        with storing(options.json, "choose another file with --json"):
            options.json.write_text(json.dumps(asdict(results), indent=2), encoding="utf-8")
    if options.chart is not None:
        curves = {
            method: ([each.seconds[method] for each in results.sizes], law)
            for method, law in results.laws.items()
            if all(method in each.seconds for each in results.sizes)
        }
        labels = (f"{results.name}: the whole gradient", "weights P", "seconds")
        with storing(options.chart, "choose another file with --chart"):
            weights = [each.parameters for each in results.sizes]
            draw_panels([(weights, curves, labels)], 1, options.chart)


def measure_methods(config: ExperimentConfig) -> MethodsResults:
    """Return the methods' times from the narrowest model up to the config's own width.

    Raises UsageError if fewer than three sizes are small enough for finite differences.
    """
    small = config.model_copy(
        update={"data": config.data.model_copy(update={"batch_size": SAMPLES}), "precision": "fp32"}
    )
    own = sum(each.parameters for each in plan(small).layers)
    left_out: dict[str, str] = {}
    sizes: list[SizeResult] = []
    with shown_progress() as progress:
        for width in WIDTHS:
            model = at_width(small.model, width)
            subject = subject_of(plan(small.model_copy(update={"model": model})))
            if sizes and subject.parameters == sizes[-1].parameters:
                continue
            progress(f"{subject.parameters:,} weights")
            measured = measure_size(subject, width, left_out)
            if measured is None:
                left_out[f"{subject.parameters:,} weights"] = (
                    f"finite differences would take more than {MOST_S:g} s"
                )
                break
            sizes.append(measured)
    if len(sizes) < FEWEST_SIZES:
        raise UsageError(
            f"--gradient-methods: {len(sizes)} sizes of this model can be measured, "
            f"{FEWEST_SIZES} are needed",
            f"finite differences of the next one take more than {MOST_S:g} s, or it is as large",
            "data with smaller samples, or more hidden units",
        )
    return MethodsResults(config.name, machine(), own, sizes, laws_of(sizes), left_out)


def print_methods(results: MethodsResults, console: Console) -> None:
    """Print a row for each size, and the fitted exponents."""
    methods = [method for method in METHODS if method in results.laws]
    say(
        console,
        f"{results.name}: the gradient by all P weights, {SAMPLES} samples, float64, milliseconds",
    )
    columns = ["P", *methods, "FD / (P backward)", "difference"]
    console.print(plain_table(columns, [_row(each, methods) for each in results.sizes]))
    for method in methods:
        law = results.laws[method]
        say(console, f"{method}: time grows as P^{law.exponent:.2f}")
    if results.sizes[-1].width < 1:
        seconds = {name: results.laws[name].at(results.parameters) for name in methods}
        text = ", ".join(f"{name} {_duration(each)}" for name, each in seconds.items())
        say(console, f"by these laws, at the config's own {results.parameters:,} weights: {text}")
    for what, why in results.left_out.items():
        say(console, f"left out: {what}, {why}")
    say(console, results.machine)


def _row(size: SizeResult, methods: list[str]) -> list[str]:
    times = [f"{1e3 * size.seconds[m]:.3g}" if m in size.seconds else "-" for m in methods]
    return [
        f"{size.parameters:,}",
        *times,
        f"{size.over_backward(DIFFERENCES):.2f}",
        f"{size.difference[DIFFERENCES]:.0e}",
    ]


def _duration(seconds: float) -> str:
    """Return seconds in a unit that suits them."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{1e3 * seconds:.3g} ms"
