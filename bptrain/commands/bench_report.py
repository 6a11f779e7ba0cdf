"""What `bench` prints."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bptrain.bench.step_results import AlternativeResult, Spread, StepResults
from bptrain.errors import shorten
from bptrain.free_memory import format_bytes

MOST_OPERATIONS = 15


def print_step(results: StepResults, console: Console) -> None:
    """Print the alternatives, the floor and the operations of a measured step."""
    shapes = ", ".join(" x ".join(map(str, shape)) for shape in results.batch)
    say(
        console,
        f"{results.name}: batch {shapes}, {results.parameters:,} parameters, {results.precision} "
        f"on {results.device}",
    )
    console.print(_alternatives(results))
    steps = f"{results.steps_a_turn} step{'s' * (results.steps_a_turn > 1)}"
    say(console, f"median and quartiles of {results.turns} turns, each of {steps}")
    routes = ", ".join(f"{name} {each / 1e9:.0f}" for name, each in results.matmul_routes.items())
    say(console, f"of peak: of a large matrix product's, in GFLOP/s: {routes}")
    floor = results.floor
    say(
        console,
        f"floor: {_ms(floor.seconds)} ms, of which products and convolutions alone "
        f"{_ms(floor.products_s)},",
    )
    say(
        console,
        f"  the optimizer's memory {_ms(floor.optimizer_s)} at "
        f"{results.memory_bandwidth / 1e9:.1f} GB/s",
    )
    for side in results.alternatives:
        if side.is_ours:
            say(console, f"{side.name}: {side.step_s.median / floor.seconds:.2f} of the floor")
    reference = results.alternatives[0].name
    for ratio in results.ratios:
        if ratio.theirs != reference:
            say(console, f"{ratio.ours} / {ratio.theirs}: {_spread(ratio.spread)}")
    say(console, _agreement(results))
    for name, why in results.left_out.items():
        say(console, f"left out: {name}, {why}")
    console.print(_operations(results))
    say(console, results.machine)


def _agreement(results: StepResults) -> str:
    """Return how far outputs and gradients are apart, and what was not compared."""
    reference, *others = results.alternatives
    known = [each.largest_difference for each in others if each.largest_difference is not None]
    text = f"outputs and gradients: within {max(known, default=0):.0e} of {reference.name}'s norms"
    unknown = [each.name for each in others if each.largest_difference is None]
    return f"{text}; not compared: {', '.join(unknown)}, which drops others" if unknown else text


def _alternatives(results: StepResults) -> Table:
    return plain_table(
        ("", "step, ms", "/ torch.nn", "kept", "memory", "of peak"),
        [_row(each) for each in results.alternatives],
    )


def _row(side: AlternativeResult) -> list[str]:
    return [
        side.name,
        _ms(side.step_s.median),
        _spread(side.over_torch),
        format_bytes(side.kept_bytes),
        format_bytes(side.peak_bytes),
        f"{side.of_matmul_peak:.0%}",
    ]


def _operations(results: StepResults) -> Table:
    """Return the operations' times, and what of the step is in none of them."""
    step_s = next(each.step_s.median for each in results.alternatives if each.is_ours)
    rows = [
        [
            each.operation,
            str(each.calls),
            _ms(each.forward_s),
            _ms(each.backward_s),
            f"{(each.forward_s + each.backward_s) / step_s:.0%}",
        ]
        for each in results.operations[:MOST_OPERATIONS]
    ]
    return plain_table(("operation", "calls", "forward, ms", "backward, ms", "of the step"), rows)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table without borders, so that it fits 80 columns; all but its first are numbers."""
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        made.add_row(*row)
    return made


def _spread(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"


def say(console: Console, line: str) -> None:
    """Print a line, which may hold a name from a file."""
    console.print(shorten(line), highlight=False, markup=False, soft_wrap=True)
