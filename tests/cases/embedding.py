"""Cases of the embedding. What max_norm does to the weight: tests/ops/test_embedding.py."""

from collections.abc import Callable
from math import inf, nan
from typing import Any

import torch

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase, Refusal

FAR = 1e3  # a max_norm that no row of the cases reaches: inputs are not to be modified


def _table(
    *shape: int, rows: int = 4, columns: int = 3, dtype: torch.dtype = torch.int64
) -> Callable[[Inputs], Tensors]:
    return lambda draw: {
        "input": draw.classes(*shape, classes=rows).to(dtype),
        "weight": draw.normal(rows, columns),
    }


def _repeated(draw: Inputs) -> Tensors:
    """Read row 1 three times, row 2 once, the others never."""
    return {
        "input": torch.tensor([[1, 2], [1, 1]], device=draw.device),
        "weight": draw.normal(4, 3),
    }


def _transposed(draw: Inputs) -> Tensors:
    return {"input": draw.classes(3, 2, classes=4).t(), "weight": draw.normal(3, 4).t()}


def _not_finite(draw: Inputs) -> Tensors:
    return {
        "input": torch.tensor([0, 1, 0], device=draw.device),
        "weight": draw.values(nan, inf, 1.0, 2.0).view(2, 2),
    }


def _case(name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any) -> OpCase:
    return OpCase("embedding", name, why, arguments, options)


def _mean(name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any) -> OpCase:
    """Return a case whose gradient is a mean over a row's uses, unlike finite differences."""
    return OpCase("embedding", name, why, arguments, options, smooth=False)


OPS = [
    _case("sequences", "the usual shape", _table(2, 3)),
    _case("repeated", "a row read three times accumulates three gradients", _repeated),
    _mean("padding", "its row is read but gets no gradient", _repeated, padding_idx=2),
    _mean("padding 0", "a row like any other", _table(2, 3), padding_idx=0),
    _mean("padding from the end", "-3 is row 1", _repeated, padding_idx=-3),
    _mean("by frequency", "row 1's gradient is a third", _repeated, scale_grad_by_freq=True),
    _mean(
        "by frequency and padding",
        "both at once",
        _repeated,
        scale_grad_by_freq=True,
        padding_idx=2,
    ),
    _case("max_norm", "a limit that no row reaches", _table(2, 3), max_norm=FAR, norm_type=1.0),
    _case("one index", "no axis: y is a row", _table()),
    _case("three axes", "any shape of indices", _table(2, 1, 2)),
    _case("int32", "narrower indices", _table(5, dtype=torch.int32)),
    _case("one row", "every index is 0", _table(3, rows=1)),
    _case("one column", "E of size 1", _table(3, columns=1)),
    _case("transposed", "strides other than contiguous", _transposed),
    _case("empty", "an empty batch gives a zero gradient", _table(0, 3)),
    OpCase("embedding", "not finite", "NaN passes", _not_finite, smooth=False),
]

TABLE = {"num_embeddings": 4, "embedding_dim": 3}


def _indices(*shape: int) -> Callable[[Inputs], Tensors]:
    return lambda draw: {"input": draw.classes(*shape, classes=4)}


MODULES = [
    ModuleCase("Embedding", "defaults", TABLE, _indices(2, 3)),
    ModuleCase("Embedding", "evaluation", TABLE, _indices(2, 3), training=False),
    ModuleCase("Embedding", "padding", TABLE | {"padding_idx": 1}, _indices(6), smooth=False),
    ModuleCase(
        "Embedding",
        "every option",
        TABLE | {"padding_idx": -1, "max_norm": FAR, "norm_type": 1.5, "scale_grad_by_freq": True},
        _indices(6),
        smooth=False,
    ),
    ModuleCase(
        "Embedding",
        "a given table",
        TABLE | {"_weight": torch.arange(12, dtype=torch.float64).view(4, 3)},
        _indices(5),
    ),
]

REFUSED = [
    Refusal("Embedding", TABLE | {"sparse": True}, "sparse", "gradients are dense throughout"),
]
