"""The table of cases, a file for each family of operations.

To add an operation, add its rows to its family's file: a test fails while an operation or a
module has none. Each odd shape says why it is there.
"""

from bptrain.verify.case import Case, ModuleCase, OpCase, Refusal
from bptrain.verify.cases import activations, attention, ctc, linear, losses, multihead_attention

OPS: list[OpCase] = [*linear.OPS, *activations.OPS, *attention.OPS, *ctc.OPS, *losses.OPS]
MODULES: list[ModuleCase] = [
    *linear.MODULES,
    *activations.MODULES,
    *multihead_attention.MODULES,
    *ctc.MODULES,
    *losses.MODULES,
]
CASES: list[Case] = [*OPS, *MODULES]
REFUSED: list[Refusal] = [*activations.REFUSED, *losses.REFUSED]
