"""Write docs/layers.md: every layer, what it saves for its backward pass, what it refuses.

scripts/layers
"""

import textwrap
from pathlib import Path

import torch
from cases import CASES, REFUSED

from bptrain import nn
from bptrain.bench.saved_bytes import LAYERS, Layer
from bptrain.nn import from_torch

PAGE = Path(__file__).parent.parent / "docs" / "layers.md"
HEAD = """# Layers

`bptrain.nn` has these modules under torch.nn's names, with its constructor arguments, defaults,
initialization, parameter names and state_dict keys; each computes with a forward and backward of
`bptrain/ops/`, where the derivation stands. They are proven on {cases} cases ({runs} with dtypes)
against finite differences and torch.nn. This page is made by `scripts/layers`.

## Saved for the backward pass

In kB (1000 bytes), at the size given, in training mode, in float32 on the CPU, torch {version};
inputs that are saved count, parameters do not. A tensor that the next layer saves as its input
anyway (ReLU's output) counts here all the same.

| layer | input | bptrain | torch.nn | share |
|---|---|---|---|---|
"""
FROM_TORCH = """
## Writing into an output

An in-place operation on a layer's output (`torch.relu_(linear(x))`) works as behind torch.nn's
layer, except where ours saves its output and torch.nn's its input: CELU, ELU, GRU, Hardtanh,
LeakyReLU, RNN, ReLU6, SELU, Softsign. There autograd raises the error that it raises after torch's
sigmoid. Their output is what the next layer saves as its input, so that they add no memory.

## torch.nn's own

So that `import bptrain.nn as nn` can replace `import torch.nn as nn`, these are as in torch.nn,
differentiated by torch:{names}.
"""
MIDDLE = """
## Not offered

The constructor raises `NotImplementedError` and names the option.

| layer | option | why |
|---|---|---|
"""


def row(layer: Layer) -> str:
    """Return a layer's line."""
    ours, torchs = layer.saved_bytes(layer.ours), layer.saved_bytes(layer.torchs)
    share = f"{ours / torchs:.2f}" if torchs else "1.00" if not ours else "-"
    name = f"`{layer.name}({layer.arguments})`"
    return f"| {name} | {layer.size} | {ours / 1e3:,.1f} | {torchs / 1e3:,.1f} | {share} |"


def main() -> None:
    """Measure and write the page."""
    missing = set(nn.__all__) - {layer.name for layer in LAYERS}
    assert not missing, f"no size is given for {missing}"
    runs = sum(1 + len(case.dtypes) for case in CASES)
    head = HEAD.format(cases=len(CASES), runs=runs, version=torch.__version__.split("+")[0])
    names = textwrap.fill(", ".join(f"`{name}`" for name in from_torch.__all__), 100)
    torchs = FROM_TORCH.format(names="\n" + names)
    refused = [f"| `{r.module}` | `{r.option}` | {r.why} |" for r in REFUSED]
    PAGE.write_text(
        head + "\n".join(map(row, LAYERS)) + "\n" + torchs + MIDDLE + "\n".join(refused) + "\n"
    )


if __name__ == "__main__":
    main()
