"""Print how long a training step of each layer takes: torch.nn's, ours by autograd, on the tape.

python scripts/benchmark_layers.py            every layer of docs/layers.md, at its size there
python scripts/benchmark_layers.py LSTM ...   these layers
python scripts/benchmark_layers.py --turns 25 --steps 20 --most 1.15

The inputs are parameters, and the loss is the mean of the outputs times drawn numbers, on every
side. A turn is so many steps of each alternative. At the end stand the layers that take more than
`--most` of torch.nn's time on the tape.
"""

import argparse
from collections.abc import Callable
from statistics import median

from bptrain.bench.engines import TORCH
from bptrain.bench.layer_steps import OURS, layer_steps
from bptrain.bench.paired import machine, median_and_quartiles, time_in_turns
from bptrain.bench.saved_bytes import LAYERS, Layer
from bptrain.bench.subject import repeated


def main() -> None:
    """Measure and print a line of a table for each layer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="LAYER")
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--steps", type=int, default=5, help="of each alternative in a turn")
    parser.add_argument("--most", type=float, default=1.15, help="of torch.nn's time")
    given = parser.parse_args()
    print(f"{machine()}; median and quartiles of {given.turns} turns of {given.steps} steps\n")
    print("| layer | input | torch.nn, ms | autograd / torch.nn | tape / torch.nn |")
    print("|---|---|---|---|---|")
    slow = []
    for layer in LAYERS:
        if given.names and layer.name not in given.names:
            continue
        line, on_tape = measured(layer, given.turns, given.steps)
        print(line, flush=True)
        slow += [f"{layer.name} {on_tape:.2f}"] if on_tape > given.most else []
    print(f"\nAbove {given.most} on the tape: {', '.join(slow) or 'none'}.")


def measured(layer: Layer, turns: int, steps: int) -> tuple[str, float]:
    """Return a layer's line, and the tape's time over torch.nn's, 0 where it does not run so."""
    alternatives, why = layer_steps(layer)
    work: dict[str, Callable[[], object]] = {
        name: repeated(step, steps) for name, step in alternatives.items()
    }
    timings = time_in_turns(work, turns, alternatives)
    milliseconds = 1e3 * median(timings.seconds[TORCH]) / steps
    ratios = {name: timings.ratios(TORCH, name) for name in OURS if name in alternatives}
    cells = [f"`{layer.name}({layer.arguments})`", layer.size, f"{milliseconds:.3g}"]
    cells += [median_and_quartiles(each).rpartition(",")[0] + ")" for each in ratios.values()]
    cells += [why] * bool(why)
    return f"| {' | '.join(cells)} |", median(ratios.get("tape", [0.0]))


if __name__ == "__main__":
    main()
