"""The calls of a model that a check examines: each layer with the inputs that reach it.

Each layer is called alone, with the inputs that reach it inside the model, so that an error is
found in the layer that makes it and in no other. All of it is a copy in float64.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from bptrain.nn.to_torch import is_ours, to_torch
from bptrain.verify.call_arguments import put_together, take_apart
from bptrain.verify.named_tensors import PARAMETER, Tensors, named, reseed

WHOLE = "whole model"
JITTER = 0.05  # of an input's own standard deviation: breaks the ties and zeros that kinks stand on
SEED = 11  # of the jitter
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class LayerCall:
    """A module, its torch.nn counterpart if there is one, and the arguments of a call."""

    name: str
    module: torch.nn.Module
    reference: torch.nn.Module | None
    template: tuple[Any, Any]  # positional and keyword arguments, their tensors taken out
    tensors: Tensors

    @property
    def kind(self) -> str:
        """The layer's class; "" for the whole model."""
        return "" if self.name == WHOLE else type(self.module).__name__

    @property
    def differentiable(self) -> list[str]:
        """The names of the tensors that have a gradient."""
        return [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]

    def as_function(self, module: torch.nn.Module) -> Callable[[Tensors], Tensors]:
        """Return the call of `module` as a function of the named tensors, the same every time."""

        def function(tensors: Tensors) -> Tensors:
            reseed(next(iter(tensors.values())).device)
            state = {k.removeprefix(PARAMETER): v for k, v in tensors.items() if k in own}
            dtype = next(v.dtype for v in tensors.values() if v.is_floating_point())
            state |= {k: _copied(buffer, dtype) for k, buffer in module.named_buffers()}
            args, kwargs = put_together(self.template, tensors)
            return named("output", functional_call(module, state, args, kwargs))

        own = {name for name in self.tensors if name.startswith(PARAMETER)}
        return function


def layer_calls(
    module: torch.nn.Module, arguments: tuple[Any, ...], reference: torch.nn.Module | None
) -> list[LayerCall]:
    """Return the call of the whole module, and if it has layers that of each of them."""
    model = copy.deepcopy(module).double()
    counterpart = to_torch(module) if reference is None else copy.deepcopy(reference)
    counterpart = counterpart.double().train(module.training)
    tensors: Tensors = {}
    template = take_apart(arguments, "input", tensors)
    tensors = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
    arguments = put_together(template, tensors)

    layers = {name: each for name, each in model.named_modules() if name and _is_layer(each, model)}
    recorded: dict[str, Arguments] = {}
    with _recording(layers, recorded):
        reseed(next(iter(tensors.values())).device)
        model(*arguments)

    has_counterpart = reference is not None or any(map(is_ours, module.modules()))
    whole = counterpart if has_counterpart else None
    name = WHOLE if recorded else ""
    calls = [_call(name, model, whole, (arguments, {}), jitter=not recorded)]
    counterparts = dict(counterpart.named_modules())
    for name, made in recorded.items():
        is_known = is_ours(layers[name]) or reference is not None
        calls.append(_call(name, layers[name], counterparts.get(name) if is_known else None, made))
    return calls


def _is_layer(module: torch.nn.Module, model: torch.nn.Module) -> bool:
    """Tell what is checked as one: a module without children, and ours even if it has some."""
    inside_ours = any(
        is_ours(other) and any(each is module for each in other.modules() if each is not other)
        for other in model.modules()
    )
    return not inside_ours and (is_ours(module) or not any(module.children()))


@contextmanager
def _recording(
    layers: dict[str, torch.nn.Module], recorded: dict[str, Arguments]
) -> Iterator[None]:
    """Record the arguments of each layer's first call."""

    def record(name: str) -> Callable[..., None]:
        def hook(layer: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            recorded.setdefault(name, (args, kwargs))

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
    *,
    jitter: bool = True,
) -> LayerCall:
    args, kwargs = arguments
    tensors: Tensors = {}
    if len(args) == 1:
        template: tuple[Any, ...] = (take_apart(args[0], "input", tensors),)
    else:
        template = take_apart(args, "input", tensors)
    keywords = take_apart(kwargs, "", tensors)
    generator = torch.Generator().manual_seed(SEED)
    inputs = {
        key: _jittered(each, generator) if jitter else each.detach()
        for key, each in tensors.items()
    }
    # a weight that starts at 0, as of the last normalization of a residual block, leaves what is
    # behind it at the kink of a relu
    parameters = {
        PARAMETER + key: each.detach() if each.any() else _jittered(each, generator)
        for key, each in module.named_parameters()
    }
    return LayerCall(name, module, reference, (template, keywords), inputs | parameters)


def _jittered(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return the values moved a little at random: equal ones under a max would be a kink."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return tensor.detach()
    drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    size = tensor.detach().std(correction=0).clamp_min(1e-3)
    return tensor.detach() + JITTER * size * drawn.to(tensor.device)


def _copied(buffer: Tensor, dtype: torch.dtype) -> Tensor:
    return buffer.to(dtype, copy=True) if buffer.is_floating_point() else buffer.clone()
