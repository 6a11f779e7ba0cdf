"""A model of torch.nn's layers becomes one of bptrain.nn's, and back, in place.

A layer becomes its counterpart when its class is set: it stays the same object, with the same
parameters, buffers, options, mode and hooks. An optimizer that was made before still trains it, and
tied weights stay tied.
"""

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from bptrain.nn.conversion import Conversion
from bptrain.nn.counterparts import Kind, is_our_class, is_ours, our_class, torch_class
from bptrain.ops.embedding import check_dense
from bptrain.ops.upsample import checked_mode

Model = TypeVar("Model", bound=torch.nn.Module)
TORCH_NN = "torch.nn.modules."
WITHOUT_CODE = {torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict, torch.nn.Identity}
NO_LAYERS = WITHOUT_CODE | {  # Transformers are made of layers, with code around them
    *(torch.nn.Module, torch.nn.ParameterList, torch.nn.ParameterDict),
    *(torch.nn.Transformer, torch.nn.TransformerEncoder, torch.nn.TransformerDecoder),
    *(torch.nn.TransformerEncoderLayer, torch.nn.TransformerDecoderLayer),
}


def convert(model: Model) -> Model:
    """Turn each layer of torch.nn into bptrain.nn's, in place, and return the model.

    Layers that stay torch's are listed by `conversion(model)`. Source: docs/convert.md.
    """
    for module in _parts(model).values():
        kind = our_class(type(module))
        if kind is not None and why_left(module) is None:
            module.__class__ = kind
    return model


def to_torch(model: Model) -> Model:
    """Turn each layer of bptrain.nn into torch.nn's, in place, and return the model.

    Modules of other origin, subclasses of bptrain.nn's among them, stay what they are.
    """
    for module in _parts(model).values():
        if is_ours(module):
            module.__class__ = torch_class(type(module))
            if isinstance(module, torch.nn.RNNBase):
                module.flatten_parameters()  # into the one block of memory that cuDNN needs
    return model


def torch_copy(model: Model) -> Model:
    """Return a copy of a model, of torch.nn's layers."""
    return to_torch(copy.deepcopy(model))


def conversion(model: torch.nn.Module) -> Conversion:
    """Return which layers of a model are bptrain.nn's, and what stays torch's and why."""
    found = Conversion()
    for name, module in _parts(model).items():
        kind = type(module)
        if is_ours(module) or is_our_class(_owner_of_forward(kind)):
            found.ours[name] = kind.__name__
        elif our_class(kind):
            found.left[name] = f"{kind.__name__}: {why_left(module) or 'not converted'}"
        elif why := _why_no_layer_of_ours(module):
            found.left[name] = f"{kind.__name__}: {why}"
        elif _owner_of_forward(kind) not in (torch.nn.Module, *WITHOUT_CODE):
            found.code[name] = kind.__name__
    return found


def why_left(module: torch.nn.Module) -> str | None:
    """Return why a layer of torch.nn that has a counterpart keeps its class, or None."""
    if "forward" in vars(module):
        return "its forward was replaced on the object"
    if any(each.is_complex() for each in module.parameters()):
        return "its parameters are complex"
    try:
        if isinstance(module, torch.nn.Embedding):
            check_dense(module.sparse)
        elif isinstance(module, torch.nn.Upsample):
            checked_mode(module.mode)
    except NotImplementedError as error:
        return str(error)
    return None


def _why_no_layer_of_ours(module: torch.nn.Module) -> str | None:
    """Return why a layer has no counterpart; None for a module that is no layer of torch.nn's."""
    if isinstance(module, LazyModuleMixin):
        return "its shapes are not known: run a batch, then convert"
    base = _layer_below(type(module))
    if base is None:
        return None
    if parametrize.is_parametrized(module):
        return f"torch.nn.{base.__name__} with a parametrization"
    if base is type(module):
        return "bptrain.nn has none of its own"
    return f"a subclass of torch.nn.{base.__name__}"


def _layer_below(kind: Kind) -> Kind | None:
    """Return the layer of torch.nn that computes a class's numbers, or that it derives from."""
    if any(map(is_our_class, kind.__mro__)):
        return None
    of_torch = (each for each in kind.__mro__ if each.__module__.startswith(TORCH_NN))
    base = next(of_torch)  # torch.nn.Module at the latest
    return None if base in NO_LAYERS else base


def _owner_of_forward(kind: Kind) -> type:
    """Return the class in which a class's forward is written."""
    return next(each for each in kind.__mro__ if "forward" in vars(each))


def _parts(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return the modules of a model by name, each once.

    The output projection of MultiheadAttention is no part: it is never called, only read.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"expected a torch.nn.Module, not {type(model).__name__}")
    return dict(_walk(model, "", set()))


def _walk(
    module: torch.nn.Module, name: str, seen: set[torch.nn.Module]
) -> Iterator[tuple[str, torch.nn.Module]]:
    if module in seen:
        return
    seen.add(module)
    yield name, module
    for own, child in module.named_children():
        if type(child) is not NonDynamicallyQuantizableLinear:
            yield from _walk(child, f"{name}.{own}".lstrip("."), seen)
