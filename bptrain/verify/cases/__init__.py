"""The table of cases, a file for each family of operations.

To add an operation, add its rows to its family's file: a test fails while an operation or a
module has none. Each odd shape says why it is there.
"""

from bptrain.verify.case import Case, ModuleCase, OpCase, Refusal
from bptrain.verify.cases import activations, linear, losses, recurrent

OPS: list[OpCase] = [*linear.OPS, *activations.OPS, *losses.OPS, *recurrent.OPS]
MODULES: list[ModuleCase] = [
    *linear.MODULES,
    *activations.MODULES,
    *losses.MODULES,
    *recurrent.MODULES,
]
CASES: list[Case] = [*OPS, *MODULES]
REFUSED: list[Refusal] = [*activations.REFUSED, *losses.REFUSED]
