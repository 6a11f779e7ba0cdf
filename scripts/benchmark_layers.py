"""Print how long a forward and backward pass of each layer takes, ours and torch.nn's in turns.

python scripts/benchmark_layers.py            every layer of docs/layers.md, at its size there
python scripts/benchmark_layers.py LSTM ...   these layers
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from bptrain.bench.paired import machine, median_and_quartiles, time_in_turns
from bptrain.bench.saved_bytes import LAYERS, Layer
from bptrain.verify.named_tensors import named
from bptrain.verify.parity import differentiable, upstream


def step(layer: Layer, kind: type[torch.nn.Module]) -> Callable[[], None]:
    """Return a function that runs the layer forward and backward."""
    module, inputs = layer.call(kind)
    upstream_grads: dict[str, Tensor] = {}

    def run() -> None:
        outputs = differentiable(named("output", module(*inputs)))
        upstream_grads.update({} if upstream_grads else upstream(outputs, seed=0))
        torch.autograd.backward(list(outputs.values()), list(upstream_grads.values()))

    return run


def main() -> None:
    """Measure and print a line of a table for each layer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="LAYER")
    parser.add_argument("--turns", type=int, default=25)
    given = parser.parse_args()
    print(f"{machine()}; median and quartiles of {given.turns} turns\n")
    print("| layer | input | bptrain, ms | torch.nn over bptrain |\n|---|---|---|---|")
    for layer in LAYERS:
        if given.names and layer.name not in given.names:
            continue
        alternatives = {"ours": step(layer, layer.ours), "torch": step(layer, layer.torchs)}
        measured = time_in_turns(alternatives, given.turns)
        milliseconds = median_and_quartiles(
            [1e3 * each for each in measured.seconds["ours"]]
        ).split()[0]
        ratio = median_and_quartiles(measured.ratios("ours", "torch")).rpartition(",")[0] + ")"
        name = f"`{layer.name}({layer.arguments})`"
        print(f"| {name} | {layer.size} | {milliseconds} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
