"""Cases of the normalizations over a batch and over an instance, with running statistics."""

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from typing import Any

import torch

from bptrain.ops.over_processes import synchronize
from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase

RUNNING = ("running_mean", "running_var")


def _input(
    *shape: int, scale: float = 1.0, shift: float = 0.0, dead: bool = False
) -> Callable[[Inputs], Tensors]:
    """Draw input [shape]; a dead channel has the same value everywhere."""

    def arguments(draw: Inputs) -> Tensors:
        x = draw.normal(*shape, scale=scale)
        if dead:
            x[:, 0] = 0.5
        return {"input": x + shift}

    return arguments


def _affine(
    *shape: int, names: tuple[str, ...] = ("weight", "bias"), **how: Any
) -> Callable[[Inputs], Tensors]:
    """Draw input [shape] and the named parameters and running statistics [shape[1]]."""

    def arguments(draw: Inputs) -> Tensors:
        tensors = _input(*shape, **how)(draw)
        for name in names:
            tensors[name] = draw.uniform(shape[1], low=0.5, high=2.0)
        return tensors

    return arguments


def _tracked(*shape: int, **how: Any) -> Callable[[Inputs], Tensors]:
    return _affine(*shape, names=("weight", "bias", *RUNNING), **how)


def with_running(function: Callable[..., Any], tensors: Tensors) -> Any:
    """Call with copies of the running statistics and return them too: they are updated in place."""
    running = {name: tensors[name].clone() if name in tensors else None for name in RUNNING}
    return function(**(tensors | running)), running


def with_sums_of_one_process(function: Callable[..., Any], tensors: Tensors) -> Any:
    """Call as in a run of several processes, of which there is one: its sums are those of all."""
    synchronize(lambda values: values)
    try:
        return with_running(function, tensors)
    finally:
        synchronize(None)


def _case(
    op: str,
    name: str,
    why: str,
    arguments: Callable[[Inputs], Tensors],
    constants: tuple[str, ...] = (),
    **options: Any,
) -> OpCase:
    constants = (*RUNNING, *constants)
    return OpCase(op, name, why, arguments, options, constants=constants, call=with_running)


def _batch(name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any) -> OpCase:
    return _case("batch_norm", name, why, arguments, training=True, **options)


def _over_processes(
    name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any
) -> OpCase:
    case = _batch(f"over processes, {name}", why, arguments, **options)
    return replace(case, call=with_sums_of_one_process)


def _fixed(name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any) -> OpCase:
    return _case("batch_norm", f"evaluation, {name}", why, arguments, training=False, **options)


def _instance(
    name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any
) -> OpCase:
    return _case("instance_norm", name, why, arguments, **options)


OVER_PROCESSES = [
    _over_processes("image", "the sums of a channel over all of them", _tracked(2, 3, 2, 3)),
    _over_processes("no parameters", "h' is y'", _input(4, 3)),
    _over_processes("no bias", "b' is skipped", _affine(4, 3, names=("weight",))),
    _over_processes("b' alone", "a sum is enough",
                    _affine(4, 3, 2), constants=("input", "weight")),
    _over_processes("w' and b'", "a first layer: nothing is exchanged for its x'",
                    _affine(4, 3, 2), constants=("input",)),
    _over_processes("momentum 0.7", "v over M - 1, of all M", _tracked(4, 3), momentum=0.7),
    _over_processes("large mean", "v as mean(x^2) - m^2 would lose every digit",
                    _tracked(6, 3, shift=300), eps=0.5),
]  # fmt: skip

OPS = [
    _batch("matrix", "the usual shape of a perceptron", _tracked(6, 3)),
    _batch("sequence", "M = N L", _tracked(3, 2, 4)),
    _batch("image", "M = N H W", _tracked(2, 3, 2, 3)),
    _batch("volume", "M = N D H W", _tracked(2, 2, 2, 1, 3)),
    _batch("no parameters", "w is 1, b is 0: only x' is asked for", _input(4, 3)),
    _batch("no bias", "b' is skipped", _affine(4, 3, names=("weight",))),
    _batch("no weight", "h' is y'", _affine(4, 3, names=("bias",))),
    _batch("untracked", "parameters without running statistics", _affine(4, 3, 2)),
    _batch("b' alone", "a sum is enough",
           _affine(4, 3, 2), constants=("input", "weight")),
    _batch("w' and b'", "a first layer: its x' is not needed",
           _affine(4, 3, 2), constants=("input",)),
    _batch("eps", "r is not 1 / std", _affine(4, 3), eps=0.5),
    _batch("momentum 0", "the running statistics stay", _tracked(4, 3), momentum=0.0),
    _batch("momentum 1", "they become the batch's, whose variance is over M - 1",
           _tracked(4, 3, 2), momentum=1.0),
    _batch("momentum 0.7", "closer to the batch's", _tracked(4, 3),
           momentum=0.7),
    _batch("two values", "the least that training takes: h is 1 and -1", _tracked(2, 3), eps=0.1),
    _batch("one sample", "the batch is the positions of one image", _tracked(1, 3, 2, 2)),
    _batch("one channel", "a size-1 axis", _tracked(4, 1, 3)),
    _batch("dead channel", "v = 0: r is eps^(-1/2) and x' is finite", _tracked(4, 3, dead=True),
           eps=0.1),
    _batch("large mean", "v as mean(x^2) - m^2 would lose every digit",
           _tracked(6, 3, shift=300), eps=0.5),
    _batch("small std", "eps is most of v + eps", _tracked(5, 3, scale=1e-3)),
    _batch("large values", "squares that overflow fp16", _tracked(5, 3, scale=1e3)),
    _batch("empty", "no batch, no statistics: zero gradients, nothing moves", _tracked(0, 3, 2)),
    _batch("empty, untracked", "statistics are neither there nor computed", _affine(2, 3, 0)),
    *OVER_PROCESSES,
    _fixed("matrix", "m and v are constants: x acts on y directly alone", _tracked(5, 3)),
    _fixed("image", "w r along axis 1", _tracked(2, 3, 2, 3)),
    _fixed("no parameters", "x' = r y'", _affine(4, 3, names=RUNNING)),
    _fixed("no bias", "b' is skipped", _affine(4, 3, names=("weight", *RUNNING))),
    _fixed("no weight", "w is 1", _affine(4, 3, 2, names=("bias", *RUNNING))),
    _fixed("b' alone", "a sum is enough",
           _tracked(4, 3, 2), constants=("input", "weight")),
    _fixed("w' and b'", "a first layer: its x' is not needed",
           _tracked(4, 3, 2), constants=("input",)),
    _fixed("eps", "r is not 1 / std", _tracked(4, 3), eps=0.5),
    _fixed("one sample", "a single value is enough", _tracked(1, 3)),
    _fixed("large mean", "w' by sum y' x - m sum y' would cancel", _tracked(6, 3, shift=300)),
    _fixed("empty", "zero gradients", _tracked(0, 3, 2)),
    _instance("sequence", "M = L", _tracked(2, 3, 4)),
    _instance("image", "M = H W", _tracked(2, 3, 2, 3)),
    _instance("volume", "M = D H W", _affine(2, 2, 2, 1, 3)),
    _instance("no parameters", "the module's default", _input(2, 3, 4)),
    _instance("no bias", "b' is skipped", _affine(2, 3, 4, names=("weight",))),
    _instance("no weight", "h' is y'", _affine(2, 3, 4, names=("bias",))),
    _instance("b' alone", "a sum is enough",
              _affine(2, 3, 4), constants=("input", "weight")),
    _instance("w' and b'", "a first layer: its x' is not needed",
              _affine(2, 3, 4), constants=("input",)),
    _instance("eps", "r is not 1 / std", _affine(2, 3, 4), eps=0.5),
    _instance("momentum 1", "the running statistics become means over the samples",
              _tracked(3, 2, 4), momentum=1.0),
    _instance("momentum 0.7", "closer to the batch's than to their own", _tracked(3, 2, 4),
              momentum=0.7),
    _instance("one sample", "each channel once", _tracked(1, 3, 4)),
    _instance("dead channel", "v = 0", _tracked(2, 3, 4, dead=True), eps=0.1),
    _instance("large mean", "v as mean(x^2) - m^2 would cancel", _tracked(2, 3, 6, shift=300)),
    _instance("no channels", "the one empty input that torch accepts", _input(2, 0, 5)),
    _instance("evaluation", "m and v are constants", _tracked(2, 3, 4), use_input_stats=False),
    _instance("evaluation, no parameters", "x' = r y'", _affine(2, 3, 2, 2, names=RUNNING),
              use_input_stats=False),
    _instance("evaluation, one position", "a single value is enough", _tracked(2, 3, 1),
              use_input_stats=False),
]  # fmt: skip


def _module(
    module: str,
    why: str,
    arguments: Callable[[Inputs], Tensors],
    training: bool = True,
    features: int = 3,
    **options: Any,
) -> ModuleCase:
    return ModuleCase(module, why, {"num_features": features, **options}, arguments, training)


def _of_one_kind(module: str, *shape: int) -> list[ModuleCase]:
    """Return the cases that every batch normalization has, on input [shape]."""
    return [
        _module(module, "training moves the running statistics", _input(*shape)),
        _module(module, "evaluation reads them", _input(*shape), training=False),
        _module(module, "no parameters", _input(*shape), affine=False),
        _module(module, "untracked", _input(*shape), track_running_stats=False),
        _module(module, "untracked, evaluation by the batch", _input(*shape), training=False,
                track_running_stats=False),
        _module(module, "cumulative average", _input(*shape), momentum=None),
        _module(module, "cumulative average, evaluation", _input(*shape), training=False,
                momentum=None),
        _module(module, "every number", _input(*shape), eps=0.3, momentum=0.6),
        _module(module, "no parameters, no statistics, evaluation", _input(*shape),
                training=False, affine=False, track_running_stats=False, eps=0.1),
    ]  # fmt: skip


def _instances(module: str, *shape: int) -> list[ModuleCase]:
    """Return the cases that every instance normalization has, on input [shape]."""
    return [
        _module(module, "defaults: no parameter, no statistics", _input(*shape)),
        _module(module, "defaults, evaluation by the sample", _input(*shape), training=False),
        _module(module, "parameters", _input(*shape), affine=True),
        _module(module, "tracked", _input(*shape), affine=True, track_running_stats=True),
        _module(module, "tracked, evaluation", _input(*shape), training=False, affine=True,
                track_running_stats=True),
        _module(module, "tracked without parameters", _input(*shape), track_running_stats=True,
                momentum=0.6, eps=0.3),
        _module(module, "momentum None moves nothing", _input(*shape), track_running_stats=True,
                momentum=None),
        _module(module, "unbatched", _input(*shape[1:]), affine=True),
        _module(module, "unbatched, tracked", _input(*shape[1:]), affine=True,
                track_running_stats=True),
    ]  # fmt: skip


MODULES = [
    *_of_one_kind("BatchNorm1d", 4, 3),
    _module("BatchNorm1d", "sequence", _input(2, 3, 4)),
    _module("BatchNorm1d", "empty batch", _input(0, 3)),
    _module("BatchNorm1d", "cumulative average of nothing", _input(0, 3), momentum=None),
    *[
        _module(module, "no bias", _input(2, 3, 4), affine=True, bias=False)
        for module in ("BatchNorm1d", "InstanceNorm1d")
        if "bias" in signature(getattr(torch.nn, module)).parameters  # an option of newer releases
    ],
    *_of_one_kind("BatchNorm2d", 2, 3, 2, 2),
    *_of_one_kind("BatchNorm3d", 2, 3, 1, 2, 2),
    *_instances("InstanceNorm1d", 2, 3, 4),
    *_instances("InstanceNorm2d", 2, 3, 2, 2),
    *_instances("InstanceNorm3d", 2, 3, 1, 2, 2),
]
