"""The table of cases, a file for each family of operations.

To add an operation, add its rows to its family's file: a test fails while an operation or a
module has none. Each odd shape says why it is there.
"""

from bptrain.verify.case import Case, ModuleCase, OpCase, Refusal
from bptrain.verify.cases import (
    activations,
    dropout,
    embedding,
    linear,
    losses,
    pooling,
    shapes,
    softmax,
)

OPS: list[OpCase] = [
    *linear.OPS,
    *activations.OPS,
    *softmax.OPS,
    *losses.OPS,
    *pooling.OPS,
    *shapes.OPS,
    *dropout.OPS,
    *embedding.OPS,
]
MODULES: list[ModuleCase] = [
    *linear.MODULES,
    *activations.MODULES,
    *softmax.MODULES,
    *losses.MODULES,
    *pooling.MODULES,
    *shapes.MODULES,
    *dropout.MODULES,
    *embedding.MODULES,
]
CASES: list[Case] = [*OPS, *MODULES]
REFUSED: list[Refusal] = [
    *activations.REFUSED,
    *losses.REFUSED,
    *shapes.REFUSED,
    *dropout.REFUSED,
    *embedding.REFUSED,
]
