"""Cases of the losses that compare embeddings or scores with each other."""

from collections.abc import Callable
from math import inf
from typing import Any

import torch

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase, Refusal

Arguments = Callable[[Inputs], Tensors]


def _signs(draw: Inputs, *shape: int) -> torch.Tensor:
    """Return 1, -1, 1, ...: both values occur."""
    count = torch.Size(shape).numel()
    return (1 - 2 * (torch.arange(count) % 2)).view(shape).to(draw.device, draw.dtype)


def _distances(*shape: int, margin: float = 1.0) -> Arguments:
    return lambda draw: {
        "input": draw.off((margin,), *shape),
        "target": _signs(draw, *shape),
    }


def _integer_labels(draw: Inputs) -> Tensors:
    return {"input": draw.off((1.0,), 6), "target": torch.tensor([1, -1, 1, -1, 1, -1])}


def _at_the_margin(draw: Inputs) -> Tensors:
    return {"input": draw.values(1, 1, 2, inf), "target": draw.values(-1, 1, 0, -1)}


def _hinge(
    name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any
) -> OpCase:
    return OpCase("hinge_embedding_loss", name, why, arguments, options, smooth, ("target",))


def _vectors(*shape: int, scale: float = 1.0) -> Arguments:
    return lambda draw: {
        "input1": draw.normal(*shape, scale=scale),
        "input2": draw.normal(*shape, scale=scale),
        "target": _signs(draw, *shape[:-1]),
    }


def _special_vectors(draw: Inputs) -> Tensors:
    first = draw.values(0, 0, 3, 4, 3, 4, 1e2, 1e2, 1, 2).view(5, 2)
    second = draw.values(1, 2, 3, 4, -3, -4, 1e2, -1e2, 2, 1).view(5, 2)
    return {"input1": first, "input2": second, "target": draw.values(1, -1, 1, 0, -1)}


def _cosine(
    name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any
) -> OpCase:
    return OpCase("cosine_embedding_loss", name, why, arguments, options, smooth, ("target",))


def _scores(*shape: int, margin: float = 0.0) -> Arguments:
    def arguments(draw: Inputs) -> Tensors:
        second, sign = draw.normal(*shape), _signs(draw, *shape)
        gap = draw.off((margin,), *shape) * sign
        return {"input1": second + gap, "input2": second, "target": sign}

    return arguments


def _ties(draw: Inputs) -> Tensors:
    scores = draw.values(1, 2, 3, -1e4)
    return {"input1": scores, "input2": scores.flip(0), "target": draw.values(1, -1, 1, -1)}


def _same_scores(draw: Inputs) -> Tensors:
    return {"input1": draw.values(1, 2), "input2": draw.values(1, 2), "target": draw.values(1, -1)}


def _ranking(
    name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any
) -> OpCase:
    return OpCase("margin_ranking_loss", name, why, arguments, options, smooth)


def _triplets(*shape: int, scale: float = 1.0) -> Arguments:
    return lambda draw: {
        "anchor": draw.normal(*shape),
        "positive": draw.normal(*shape, scale=scale),
        "negative": draw.normal(*shape, scale=scale),
    }


def _coinciding(draw: Inputs) -> Tensors:
    anchor = draw.values(1, 2, 3, 3, -1, 0).view(2, 3)
    negative = draw.values(1, 2, 3, 3, 2, 1).view(2, 3)
    return {"anchor": anchor, "positive": anchor.clone(), "negative": negative}


def _tied_largest(draw: Inputs) -> Tensors:
    zero = draw.values(0, 0, 0).view(1, 3)
    return {
        "anchor": draw.values(2, -2, 1).view(1, 3),
        "positive": zero,
        "negative": draw.values(1, 1, -1).view(1, 3),
    }


def _triplet(
    name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any
) -> OpCase:
    return OpCase("triplet_margin_loss", name, why, arguments, options, smooth)


OPS = [
    _hinge("mean", "the usual call", _distances(4, 5)),
    _hinge("sum", "no division", _distances(4, 5), reduction="sum"),
    _hinge("none", "a gradient per element", _distances(2, 3, 2, 2), reduction="none"),
    _hinge("margin", "it moves the kink", _distances(4, 5, margin=0.4), margin=0.4),
    _hinge("integers", "labels are whole numbers", _integer_labels),
    _hinge("scalar", "no axis", _distances()),
    _hinge(
        "at the margin",
        "the kink, a label that is none, and infinity",
        _at_the_margin,
        smooth=False,
        reduction="none",
    ),
    _hinge("empty", "the mean of nothing is NaN", _distances(0, 3), smooth=False),
    _cosine("mean", "the usual call", _vectors(6, 4)),
    _cosine("sum", "no division", _vectors(6, 4), reduction="sum"),
    _cosine("none", "a gradient for each pair", _vectors(6, 4), reduction="none"),
    _cosine("margin", "more pairs have a loss of 0", _vectors(6, 4), margin=0.3),
    _cosine("margin below 0", "fewer pairs have a loss of 0", _vectors(6, 4), margin=-0.5),
    _cosine("one pair", "no batch axis", _vectors(5)),
    _cosine("one pair, none", "its loss is a scalar", _vectors(5), reduction="none"),
    _cosine(
        "special",
        "a zero vector, equal, opposite and right-angled ones, a label that is none",
        _special_vectors,
        smooth=False,
        reduction="none",
    ),
    _cosine("empty", "the mean of nothing is NaN", _vectors(0, 3), smooth=False),
    _ranking("mean", "the usual call", _scores(4, 5)),
    _ranking("sum", "no division", _scores(4, 5), reduction="sum"),
    _ranking("none", "a gradient per element", _scores(2, 3, 2, 2), reduction="none"),
    _ranking("margin", "it moves the kink", _scores(4, 5, margin=0.6), margin=0.6),
    _ranking("scalar", "no axis", _scores()),
    _ranking("ties", "far apart both ways", _ties, smooth=False, reduction="none"),
    _ranking("same scores", "at the kink 0, as in torch", _same_scores, smooth=False),
    _ranking("empty", "the mean of nothing is NaN", _scores(0, 3), smooth=False),
    _triplet("mean", "the usual call", _triplets(5, 4)),
    _triplet("sum", "no division", _triplets(5, 4), reduction="sum"),
    _triplet("none", "a gradient for each triplet", _triplets(5, 4), reduction="none"),
    _triplet("swap", "the nearer negative", _triplets(6, 3), swap=True, margin=2.0),
    _triplet("swap, none", "each chooses", _triplets(6, 3), swap=True, reduction="none"),
    _triplet("eps", "it is added to each difference", _triplets(5, 4), eps=0.3),
    _triplet("p = 0.5", "a power below 0 of the differences", _triplets(5, 4), p=0.5, margin=30.0),
    _triplet("p = 1", "signs", _triplets(5, 4), p=1.0, swap=True, margin=2.0),
    _triplet("p = 1.5", "between", _triplets(5, 4), p=1.5),
    _triplet("p = 3", "beyond", _triplets(5, 4), p=3.0, swap=True, margin=2.0),
    _triplet("p infinite", "the largest alone", _triplets(5, 4), p=inf, margin=2.0),
    _triplet(
        "p infinite, tied", "shared by two", _tied_largest, smooth=False, p=inf, eps=0.0, margin=2.0
    ),
    _triplet("images", "the norm is along the last axis", _triplets(2, 2, 2, 3)),
    _triplet("images, p infinite", "the largest along that axis", _triplets(2, 3, 2), p=inf),
    _triplet("one triplet", "no batch axis: the loss is a scalar", _triplets(4), reduction="none"),
    _triplet("far", "squares in float16 overflow", _triplets(3, 4, scale=300.0), smooth=False),
    *(
        _triplet(
            f"coinciding, p = {p}",
            "norms of 0, and a tie of the two distances",
            _coinciding,
            smooth=False,
            p=p,
            eps=0.0,
            swap=True,
            reduction="none",
        )
        for p in (0.5, 1.0, 1.5, 2.0, 3.0)
    ),
    _triplet("empty", "the mean of nothing is NaN", _triplets(0, 3), smooth=False),
]

MODULES = [
    ModuleCase("HingeEmbeddingLoss", "defaults", {}, _distances(4, 5), constants=("target",)),
    ModuleCase(
        "HingeEmbeddingLoss",
        "every option reaches the function",
        {"margin": 0.4, "reduction": "sum"},
        _distances(4, 5, margin=0.4),
        constants=("target",),
    ),
    ModuleCase("CosineEmbeddingLoss", "defaults", {}, _vectors(6, 4), constants=("target",)),
    ModuleCase(
        "CosineEmbeddingLoss",
        "every option reaches the function",
        {"margin": 0.2, "reduction": "sum"},
        _vectors(6, 4),
        constants=("target",),
    ),
    ModuleCase("MarginRankingLoss", "defaults", {}, _scores(4, 5)),
    ModuleCase(
        "MarginRankingLoss",
        "every option reaches the function",
        {"margin": 0.6, "reduction": "sum"},
        _scores(4, 5, margin=0.6),
    ),
    ModuleCase("TripletMarginLoss", "defaults", {}, _triplets(5, 4)),
    ModuleCase(
        "TripletMarginLoss",
        "every option reaches the function",
        {"margin": 2.0, "p": 3.0, "eps": 0.1, "swap": True, "reduction": "sum"},
        _triplets(6, 3),
    ),
]

DEPRECATED = "torch deprecated it, reduction says the same"
REFUSED = [
    Refusal("HingeEmbeddingLoss", {"reduce": True}, "reduce", DEPRECATED),
    Refusal("CosineEmbeddingLoss", {"size_average": True}, "size_average", DEPRECATED),
    Refusal("MarginRankingLoss", {"reduce": False}, "reduce", DEPRECATED),
    Refusal("TripletMarginLoss", {"size_average": False}, "size_average", DEPRECATED),
]
