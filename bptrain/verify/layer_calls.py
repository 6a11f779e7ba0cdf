"""The calls of a model that a check examines: each layer with the inputs that reach it.

Each layer is called alone, with the inputs that reach it inside the model, so that an error is
found in the layer that makes it and in no other. All of it is a copy in float64.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from bptrain.nn.convert import torch_copy
from bptrain.nn.counterparts import is_ours
from bptrain.verify.call_arguments import put_together, take_apart
from bptrain.verify.named_tensors import PARAMETER, Tensors, named, reseed
from bptrain.verify.points import generic_point

WHOLE = "whole model"
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
WITHOUT_CODE = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)


class Function(torch.nn.Module):
    """A function of tensors, such as MyFunction.apply, as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    @property
    def name(self) -> str:
        """The function's name, that of its class for an autograd.Function."""
        owner = getattr(self.function, "__self__", None)
        named_by = owner if isinstance(owner, type) else self.function
        return getattr(named_by, "__name__", type(named_by).__name__)

    def forward(self, *args: Any) -> Any:
        """Call the function."""
        return self.function(*args)


@dataclass(frozen=True)
class LayerCall:
    """A module, its torch.nn counterpart if there is one, and the arguments of a call.

    is_whole  whether layers or blocks inside it are checked by themselves, too
    """

    name: str
    module: torch.nn.Module
    reference: torch.nn.Module | None
    template: tuple[Any, Any]  # positional and keyword arguments, their tensors taken out
    given: Tensors
    is_whole: bool = False

    @property
    def kind(self) -> str:
        """The module's class; "" where the name says it."""
        kind = type(self.module).__name__
        return "" if isinstance(self.module, Function) or self.name == kind else kind

    @property
    def differentiable(self) -> list[str]:
        """The names of the tensors that have a gradient."""
        return [name for name, tensor in self.given.items() if tensor.is_floating_point()]

    def point_of(self, draw: int) -> Tensors:
        """Return tensors near the given ones, at which gradients are compared.

        A layer's parameters stay, but for those that are all 0, as the weight of the last
        normalization of a residual block; in a whole model, where one layer's zeros are the next
        one's kinks, every parameter moves.
        """
        moving = {
            name
            for name, each in self.given.items()
            if not name.startswith(PARAMETER) or self.is_whole or not each.any()
        }
        return generic_point(self.as_function(self.module), self.given, moving, draw)

    def as_function(self, module: torch.nn.Module) -> Callable[[Tensors], Tensors]:
        """Return the call of `module` as a function of the named tensors, the same every time."""

        def function(tensors: Tensors) -> Tensors:
            reseed(next(iter(tensors.values())).device)
            state = {k.removeprefix(PARAMETER): v for k, v in tensors.items() if k in own}
            dtype = next(v.dtype for v in tensors.values() if v.is_floating_point())
            state |= {k: _copied(buffer, dtype) for k, buffer in module.named_buffers()}
            # copies, as the module may change its inputs in place
            inputs = {k: v.clone() for k, v in tensors.items() if k not in own}
            args, kwargs = put_together(self.template, inputs)
            return named("output", functional_call(module, state, args, kwargs))

        own = {name for name in self.given if name.startswith(PARAMETER)}
        return function


@dataclass(frozen=True)
class Calls:
    """The calls inside a model.

    whole   of the model itself
    layers  of each layer
    blocks  of the modules with layers inside and code of their own, the innermost first
    """

    whole: LayerCall
    layers: list[LayerCall]
    blocks: list[LayerCall]


def layer_calls(
    module: torch.nn.Module, arguments: tuple[Any, ...], reference: torch.nn.Module | None
) -> Calls:
    """Return the call of the whole module, and of the layers and blocks that it has."""
    model = copy.deepcopy(module).double()
    counterpart = torch_copy(module) if reference is None else copy.deepcopy(reference)
    counterpart = _laid_out_as_ours(counterpart.double().train(module.training))
    tensors: Tensors = {}
    template = take_apart(arguments, "input", tensors)
    tensors = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
    arguments = put_together(template, tensors)

    layers = {name: each for name, each in model.named_modules() if name and _is_layer(each, model)}
    blocks = {name: each for name, each in model.named_modules() if name and _is_block(each, model)}
    recorded: dict[str, Arguments] = {}
    with _recording(layers | blocks, recorded):
        reseed(next(iter(tensors.values())).device)
        copies = {name: each.clone() for name, each in tensors.items()}
        model(*put_together(template, copies))

    has_counterpart = reference is not None or any(map(is_ours, module.modules()))
    counterparts = dict(counterpart.named_modules())

    def call(name: str) -> LayerCall:
        known = reference is not None or any(map(is_ours, model.get_submodule(name).modules()))
        theirs = counterparts.get(name) if known else None
        made = _call(name, model.get_submodule(name), theirs, recorded[name])
        return replace(made, is_whole=name in blocks)

    inside = [name for name in recorded if name in layers]
    whole = _call(
        WHOLE if inside else module.name if isinstance(module, Function) else type(module).__name__,
        model, counterpart if has_counterpart else None, (arguments, {}),
    )  # fmt: skip
    deepest_first = sorted(
        (name for name in recorded if name in blocks), key=lambda name: -name.count(".")
    )
    return Calls(
        replace(whole, is_whole=bool(inside)),
        [call(name) for name in inside],
        [call(name) for name in deepest_first],
    )


def _laid_out_as_ours(counterpart: torch.nn.Module) -> torch.nn.Module:
    """Let torch's attention put its output in the order in memory that ours has.

    Dropout draws its numbers in that order, and what stands behind an attention is to drop alike.
    """

    def contiguous(_module: Any, _inputs: Any, output: tuple[Any, ...]) -> tuple[Any, ...]:
        return output[0].contiguous(), *output[1:]

    for each in counterpart.modules():
        if isinstance(each, torch.nn.MultiheadAttention) and each.batch_first:
            each.register_forward_hook(contiguous)
    return counterpart


def _is_layer(module: torch.nn.Module, model: torch.nn.Module) -> bool:
    """Tell what is checked as one: a module without children, and ours even if it has some."""
    return not _is_inside_ours(module, model) and (is_ours(module) or not any(module.children()))


def _is_block(module: torch.nn.Module, model: torch.nn.Module) -> bool:
    """Tell what has layers and code of its own around them."""
    has_code = all(type(module).forward is not each.forward for each in WITHOUT_CODE)
    return has_code and not _is_layer(module, model) and not _is_inside_ours(module, model)


def _is_inside_ours(module: torch.nn.Module, model: torch.nn.Module) -> bool:
    return any(
        is_ours(other) and any(each is module for each in other.modules() if each is not other)
        for other in model.modules()
    )


@contextmanager
def _recording(
    layers: dict[str, torch.nn.Module], recorded: dict[str, Arguments]
) -> Iterator[None]:
    """Record the arguments of each layer's first call."""

    def record(name: str) -> Callable[..., None]:
        def hook(layer: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name not in recorded:  # copies: a layer may change its input in place
                tensors: Tensors = {}
                template = take_apart((args, kwargs), "", tensors)
                copies = {key: each.detach().clone() for key, each in tensors.items()}
                recorded[name] = put_together(template, copies)

        return hook

    handles = [
        layer.register_forward_pre_hook(record(name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _call(
    name: str,
    module: torch.nn.Module,
    reference: torch.nn.Module | None,
    arguments: Arguments,
) -> LayerCall:
    args, kwargs = arguments
    inputs: Tensors = {}
    if len(args) == 1:
        template: tuple[Any, ...] = (take_apart(args[0], "input", inputs),)
    else:
        template = take_apart(args, "input", inputs)
    keywords = take_apart(kwargs, "", inputs)
    parameters = {PARAMETER + key: each for key, each in module.named_parameters()}
    given = {key: each.detach() for key, each in (inputs | parameters).items()}
    return LayerCall(name, module, reference, (template, keywords), given)


def _copied(buffer: Tensor, dtype: torch.dtype) -> Tensor:
    return buffer.to(dtype, copy=True) if buffer.is_floating_point() else buffer.clone()
