"""Write the measured part of docs/kernels.md: what the formulas cost beside the kernels.

python scripts/kernel_table.py              every layer of docs/layers.md, at its size there
python scripts/kernel_table.py LSTM ...     print these layers' lines
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from bptrain.bench.paired import machine, median_and_quartiles, time_in_turns
from bptrain.bench.saved_bytes import LAYERS, Layer
from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.ops.operation import operations_behind
from bptrain.verify.named_tensors import named
from bptrain.verify.parity import differentiable, upstream

PAGE = Path(__file__).parent.parent / "docs" / "kernels.md"
HEADING = "## Measured"
HEAD = """

What the formulas cost: the time of a layer's forward and backward pass by the formulas over the
time by the kernels, median and quartiles of {turns} turns in which both alternate, after a turn of
warm-up. {machine}.
Written by `scripts/kernel_table.py`.

| layer | input | operations with a kernel | formula over kernel |
|---|---|---|---|
"""


def step(layer: Layer, kernels: Kernels) -> Callable[[], None]:
    """Return a function that runs the layer forward and backward with these kernels."""
    module, inputs = layer.call(layer.ours)
    upstream_grads: dict[str, Tensor] = {}

    def run() -> None:
        with use_kernels(kernels):
            outputs = differentiable(named("output", module(*inputs)))
        upstream_grads.update({} if upstream_grads else upstream(outputs, seed=0))
        torch.autograd.backward(list(outputs.values()), list(upstream_grads.values()))

    return run


def operations_with_kernel(layer: Layer) -> list[str]:
    """Return which operations of a layer have a kernel, and in which direction."""
    module, inputs = layer.call(layer.ours)
    found = {}
    for kernels in ("fused", "formula"):
        with use_kernels(kernels):
            outputs = differentiable(named("output", module(*inputs)))
        found[kernels] = operations_behind(outputs.values())
    names = []
    for operation in sorted(found["fused"], key=lambda each: each.name):
        if operation not in found["formula"]:
            names.append(f"{operation.name}: both")
            continue
        directions = zip(("forward", "backward"), operation.fused, operation.formula, strict=True)
        by_kernel = [name for name, fused, formula in directions if fused is not formula]
        if by_kernel:
            where = "both" if len(by_kernel) == 2 else by_kernel[0]
            names.append(f"{operation.name}: {where}")
    return names


def rows(layers: list[Layer], turns: int) -> Iterator[str]:
    """Yield a line of the table for each layer."""
    for layer in layers:
        name = f"| `{layer.name}({layer.arguments})` | {layer.size} "
        kernels = operations_with_kernel(layer)
        if not kernels:
            yield f"{name}| - | - |"
            continue
        measured = time_in_turns({each: step(layer, each) for each in ("fused", "formula")}, turns)
        ratio = median_and_quartiles(measured.ratios("fused", "formula")).rpartition(",")[0] + ")"
        yield f"{name}| {', '.join(kernels)} | {ratio} |"


def main() -> None:
    """Measure and write the page's last part, or print the lines of the layers that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="LAYER")
    parser.add_argument("--turns", type=int, default=15)
    given = parser.parse_args()
    chosen = [each for each in LAYERS if not given.names or each.name in given.names]
    lines = rows(chosen, given.turns)
    if given.names:
        print("\n".join(lines))
        return
    head = HEAD.format(turns=given.turns, machine=machine())
    text = PAGE.read_text().partition(HEADING)[0] + HEADING + head
    PAGE.write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
