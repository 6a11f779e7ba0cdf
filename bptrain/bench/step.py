"""Measure a training step: ours in each engine, and the torch.nn counterpart in its fastest forms.

Outputs, loss and gradients are compared before anything is timed. Then the alternatives alternate
in one process, turn after turn, and so do the probes of the machine: what slows it down slows all.
"""

from collections.abc import Callable
from functools import cache
from statistics import median

import torch

from bptrain.bench.agreement import refuse_different
from bptrain.bench.engines import alternatives
from bptrain.bench.operation_times import operation_times
from bptrain.bench.paired import Timings, machine, time_in_turns
from bptrain.bench.products import Products, copy_probe, matmul_probes
from bptrain.bench.step_memory import kept_bytes, peak_bytes
from bptrain.bench.step_results import (
    AlternativeResult,
    Floor,
    Ratio,
    Spread,
    StepResults,
)
from bptrain.bench.subject import Alternative, Subject, repeated

TURN_S = 0.02  # each alternative runs about that long in a turn
MOST_STEPS_A_TURN = 50
PROFILED_STEPS = 3
PEAK, COPY = "matmul peak", "copy"
PRODUCTS, PRODUCTS_LAST = "products alone", "products alone, channels last"
WEIGHT_BYTES = 4  # weights, gradients and optimizer state are float32

Progress = Callable[[str], None]


def measure_step(
    subject: Subject,
    turns: int,
    with_compiler: bool = True,
    progress: Progress = lambda _: None,
    with_formulas: bool = False,
) -> StepResults:
    """Return the times and the memory of a step in every alternative.

    with_formulas  whether the compiled formulas are among them
    progress       is called with what is done next

    Raises GradientError if an alternative computes other gradients than torch.nn.
    """
    progress("compiling" if with_compiler else "preparing")
    found, left_out = alternatives(subject, with_compiler, with_formulas)
    progress("comparing")
    differences = _compared(subject, found)
    engine = next(each for each in found if each.is_ours)
    products = Products()
    with products:
        engine.backpropagate()
    engine.clear()
    progress("measuring memory")
    memory = {each.name: (kept_bytes(each), peak_bytes(each)) for each in found}
    steps = steps_a_turn(found[0])
    progress(f"timing {turns} turns of {steps} steps")
    timings, peaks, bandwidth = _timed(subject, found, products, turns, steps)
    floor = _floor(subject, timings, steps, bandwidth)
    peak = max(peaks.values())
    progress("profiling")
    return StepResults(
        subject.name,
        machine(),
        str(subject.precision.device),
        str(subject.precision.dtype).removeprefix("torch."),
        subject.parameters,
        [list(each.shape) for each in subject.inputs if isinstance(each, torch.Tensor)],
        turns,
        steps,
        products.flops,
        peak,
        peaks,
        bandwidth,
        floor,
        _results(found, timings, steps, memory, differences, products.flops / peak),
        _ratios(found, timings),
        operation_times(subject, engine, PROFILED_STEPS),
        left_out,
    )


def _compared(subject: Subject, found: list[Alternative]) -> dict[str, float]:
    """Return each alternative's difference from the first.

    Dropout draws other numbers in another engine or memory format, so it is compared with dropout
    turned off; compiling a second time for that would take as long as all the rest.
    """
    if subject.is_random:
        subject = subject.without_dropout()
        found, _ = alternatives(subject, with_compiler=False)

    @cache
    def in_float64() -> dict[str, Alternative]:
        made, _ = alternatives(subject.in_float64(), with_compiler=False)
        return {each.name: each for each in made}

    reference, *others = found
    differences = {reference.name: 0.0}
    for each in others:
        differences[each.name] = refuse_different(
            reference, each, subject.precision.dtype, lambda name: in_float64().get(name)
        )
    return differences


def steps_a_turn(side: Alternative) -> int:
    """Return how many steps of it take about TURN_S."""
    once = {side.name: side.run}
    seconds = min(time_in_turns(once, 1).seconds[side.name])
    if seconds < TURN_S:
        seconds = min(time_in_turns(once, 3).seconds[side.name])
    return max(1, min(MOST_STEPS_A_TURN, round(TURN_S / seconds)))


def _timed(
    subject: Subject, found: list[Alternative], products: Products, turns: int, steps: int
) -> tuple[Timings, dict[str, float], float]:
    """Return the seconds of each alternative and probe, and the probes' rates per second.

    They are the operations of a product by each route, and the bytes of a copy.
    """
    precision = subject.precision
    multiply, flops = matmul_probes(precision.device, precision.dtype)
    copy, moved = copy_probe(precision.device)
    work = {each.name: each.repeated(steps) for each in found}
    work[PRODUCTS] = repeated(products.alone(), steps)
    if products.has_images:
        work[PRODUCTS_LAST] = repeated(products.alone(torch.channels_last), steps)
    once = {each.name: each.run for each in found} if steps > 1 else {}  # long ones fill the cache
    probes = {f"{PEAK}, {route}": product for route, product in multiply.items()}
    timings = time_in_turns({**work, **probes, COPY: copy}, turns, once)
    peaks = {route: flops / min(timings.seconds[f"{PEAK}, {route}"]) for route in multiply}
    return timings, peaks, moved / min(timings.seconds[COPY])


def _floor(subject: Subject, timings: Timings, steps: int, bandwidth: float) -> Floor:
    # weight, gradient and states are read, weight and states are written
    moved = (3 + 2 * subject.optimizer_states) * WEIGHT_BYTES * subject.parameters
    found = [timings.seconds[each] for each in (PRODUCTS, PRODUCTS_LAST) if each in timings.seconds]
    return Floor(min(map(median, found)) / steps, moved / bandwidth)


def _results(
    found: list[Alternative],
    timings: Timings,
    steps: int,
    memory: dict[str, tuple[int, int]],
    differences: dict[str, float],
    at_peak_s: float,
) -> list[AlternativeResult]:
    reference = found[0].name
    results = []
    for side in found:
        step_s = Spread.of([each / steps for each in timings.seconds[side.name]])
        results.append(
            AlternativeResult(
                side.name,
                side.is_ours,
                step_s,
                Spread.of(timings.ratios(reference, side.name)),
                *memory[side.name],
                at_peak_s / step_s.median,
                differences.get(side.name),
            )
        )
    return results


def _ratios(found: list[Alternative], timings: Timings) -> list[Ratio]:
    """Return every one of ours over every one of theirs."""
    return [
        Ratio(mine.name, other.name, Spread.of(timings.ratios(other.name, mine.name)))
        for mine in found
        for other in found
        if mine.is_ours and not other.is_ours
    ]
