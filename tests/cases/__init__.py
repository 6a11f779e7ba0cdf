"""The table of cases, a file for each family of operations.

To add an operation, add its rows to its family's file: a test fails while an operation or a
module has none. Each odd shape says why it is there.
"""

from cases import (
    activations,
    attention,
    batch_norms,
    bilinear,
    convolution,
    ctc,
    dropout,
    embedding,
    fused,
    layer_norms,
    linear,
    losses_of_classes,
    losses_of_labels,
    losses_of_pairs,
    losses_of_values,
    multihead_attention,
    padding,
    pooling,
    recurrent,
    shapes,
    softmax,
)
from cases.case import Case, ModuleCase, OpCase, Refusal

OPS: list[OpCase] = [
    *activations.OPS,
    *attention.OPS,
    *batch_norms.OPS,
    *bilinear.OPS,
    *convolution.OPS,
    *ctc.OPS,
    *dropout.OPS,
    *embedding.OPS,
    *fused.CASES,
    *layer_norms.OPS,
    *linear.OPS,
    *losses_of_classes.OPS,
    *losses_of_labels.OPS,
    *losses_of_pairs.OPS,
    *losses_of_values.OPS,
    *padding.OPS,
    *pooling.OPS,
    *recurrent.OPS,
    *shapes.OPS,
    *softmax.OPS,
]
MODULES: list[ModuleCase] = [
    *activations.MODULES,
    *batch_norms.MODULES,
    *bilinear.MODULES,
    *convolution.MODULES,
    *ctc.MODULES,
    *dropout.MODULES,
    *embedding.MODULES,
    *layer_norms.MODULES,
    *linear.MODULES,
    *losses_of_classes.MODULES,
    *losses_of_labels.MODULES,
    *losses_of_pairs.MODULES,
    *losses_of_values.MODULES,
    *multihead_attention.MODULES,
    *padding.MODULES,
    *pooling.MODULES,
    *recurrent.MODULES,
    *shapes.MODULES,
    *softmax.MODULES,
]
CASES: list[Case] = [*OPS, *MODULES]
REFUSED: list[Refusal] = [
    *activations.REFUSED,
    *bilinear.REFUSED,
    *convolution.REFUSED,
    *embedding.REFUSED,
    *losses_of_classes.REFUSED,
    *losses_of_labels.REFUSED,
    *losses_of_pairs.REFUSED,
    *losses_of_values.REFUSED,
    *padding.REFUSED,
    *recurrent.REFUSED,
    *shapes.REFUSED,
]
