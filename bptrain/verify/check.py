"""The proof on a user's own model: every layer's gradients, then the whole, then its precision.

Each layer is judged alone, with the inputs that reach it inside the model and random upstream
gradients, so that an error is found in the layer that makes it and in no other. All of it runs in
float64 on a copy. Three referees:

    finite differences   the backward pass against the forward pass: `gradcheck.py`
    torch autograd       against the same layer in torch.nn, every element: `parity.py`
    float32, ...         the error in the precision of training, no worse than torch.nn's
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from bptrain.models.torch_twin import is_ours, torch_twin
from bptrain.verify.comparison import SMALLEST, Comparison
from bptrain.verify.gradcheck import TOLERANCE, Sampling, differences
from bptrain.verify.named_tensors import PARAMETER, Tensors, named, reseed
from bptrain.verify.nesting import put_together, take_apart
from bptrain.verify.parity import outcomes, parity
from bptrain.verify.report import WHOLE, Referee, Report, Row

SAME = 1e-9  # relative: two orders of summation in float64
NOISE = 1e-5  # of the largest gradient: what cancels (a bias before a normalisation) leaves 1e-16
JITTER = 0.05  # of an input's own deviation: breaks the ties and zeros that kinks stand on
WORSE = 1.5  # times torch's own error, and
FLOOR = 4  # units in the last place, may ours have in the training precision
PRECISIONS: dict[torch.dtype, Referee] = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
SEED = 11  # of the upstream gradients, the jitter and the sampled elements


@dataclass(frozen=True)
class Call:
    """A module, its twin if there is one, and the arguments of a call, taken apart."""

    name: str
    module: torch.nn.Module
    twin: torch.nn.Module | None
    template: tuple[Any, Any]  # positional and keyword arguments
    tensors: Tensors

    @property
    def kind(self) -> str:
        """The layer's class; "" for the whole model."""
        return "" if self.name == WHOLE else type(self.module).__name__

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


def check(
    module: torch.nn.Module,
    inputs: Tensor | Sequence[Any],
    *,
    reference: torch.nn.Module | None = None,
    precision: torch.dtype = torch.float32,
    sampling: Sampling | None = None,
) -> Report:
    """Prove the gradients of a module and of each of its layers, on a copy, in its own mode.

    inputs     the arguments of a call, one tensor or several
    reference  the same network with torch's own gradients and the same state_dict keys; for
               layers of bptrain.nn it is made here, other layers are judged by finite
               differences alone where it is not given
    precision  torch.float32, or bfloat16 or float16 for training under autocast
    sampling   how many elements of each tensor are moved

    Raises ValueError if the module has no tensor of floating point to differentiate.
    """
    sampling = sampling or Sampling()
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    with torch.random.fork_rng():
        calls = _calls(module, arguments, reference)
        rows = [row for call in calls[1:] or calls for row in _judged(call, precision, sampling)]
        notes = []
        if all(row.is_right for row in rows) and len(calls) > 1:
            rows += _judged(calls[0], precision, sampling.of_a_whole_model())
        elif len(calls) > 1:
            notes.append("the whole model is not judged while a layer is wrong")
    if not rows:
        raise ValueError("nothing to differentiate: no floating-point input and no parameter")
    return Report(rows, notes)


def _calls(
    module: torch.nn.Module, arguments: tuple[Any, ...], reference: torch.nn.Module | None
) -> list[Call]:
    """Return the call of the whole module, and if it has layers that of each of them."""
    model = copy.deepcopy(module).double()
    twin = torch_twin(module) if reference is None else copy.deepcopy(reference)
    twin = twin.double().train(module.training)
    doubled: Tensors = {}
    template = take_apart(arguments, "input", doubled)
    doubled = {k: v.double() if v.is_floating_point() else v for k, v in doubled.items()}
    arguments = put_together(template, doubled)

    seen: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    layers = {name: each for name, each in model.named_modules() if name and _is_layer(each, model)}
    with _recording(layers, seen):
        reseed(next(iter(doubled.values())).device)
        model(*arguments)
    twins = dict(twin.named_modules())
    has_twin = reference is not None or any(map(is_ours, module.modules()))
    whole = WHOLE if seen else ""
    calls = [_call(whole, model, twin if has_twin else None, arguments, {}, jitter=not seen)]
    for name, args, kwargs in seen:
        found = twins.get(name)
        has_twin = found is not None and (is_ours(layers[name]) or reference is not None)
        calls.append(_call(name, layers[name], found if has_twin else None, args, kwargs))
    return calls


def _is_layer(module: torch.nn.Module, model: torch.nn.Module) -> bool:
    """Tell what is judged as one: a module without children, and ours even if it has some."""
    inside_ours = any(
        is_ours(other) and any(each is module for each in other.modules() if each is not other)
        for other in model.modules()
    )
    return not inside_ours and (is_ours(module) or not any(module.children()))


@contextmanager
def _recording(
    layers: dict[str, torch.nn.Module], seen: list[tuple[str, tuple[Any, ...], dict[str, Any]]]
) -> Iterator[None]:
    """Note the arguments of each layer's first call."""

    def note(name: str) -> Callable[..., None]:
        def hook(layer: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if all(name != other for other, _, _ in seen):
                seen.append((name, args, kwargs))

        return hook

    handles = [
        layer.register_forward_pre_hook(note(name), with_kwargs=True)
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
    twin: torch.nn.Module | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    jitter: bool = True,
) -> Call:
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
    # a weight that starts at 0, as of the last normalisation of a residual block, leaves what is
    # behind it at the kink of a relu
    parameters = {
        PARAMETER + key: each.detach() if each.any() else _jittered(each, generator)
        for key, each in module.named_parameters()
    }
    return Call(name, module, twin, (template, keywords), inputs | parameters)


def _jittered(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return the values moved a little at random: equal ones under a max would be a kink."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return tensor.detach()
    drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    size = tensor.detach().std(correction=0).clamp_min(1e-3)
    return tensor.detach() + JITTER * size * drawn.to(tensor.device)


def _copied(buffer: Tensor, dtype: torch.dtype) -> Tensor:
    return buffer.to(dtype, copy=True) if buffer.is_floating_point() else buffer.clone()


def _judged(call: Call, precision: torch.dtype, sampling: Sampling) -> list[Row]:
    """Return the rows of a call before each referee."""
    wanted = [name for name, tensor in call.tensors.items() if tensor.is_floating_point()]
    if not wanted:
        return []
    ours = call.as_function(call.module)
    rows = [
        Row(call.name, call.kind, "finite differences", found, TOLERANCE, kinks)
        for found, kinks in differences(ours, call.tensors, wanted, SEED, sampling)
    ]
    twin = None if call.twin is None else call.as_function(call.twin)
    if twin is not None:
        mine, theirs = (outcomes(each, call.tensors, wanted, SEED) for each in (ours, twin))
        smallest = NOISE * max(_largest(theirs), SMALLEST)
        rows += [
            Row(call.name, call.kind, "torch autograd", found, SAME)
            for found in parity(mine, theirs, smallest)
        ]
    return [*rows, _in_precision(call, ours, twin, wanted, precision)]


def _largest(outcome: Tensors) -> float:
    """Return the largest finite magnitude among the outputs and gradients."""
    sizes = [each[each.isfinite()].abs() for each in outcome.values()]
    return max([float(each.max()) for each in sizes if each.numel()], default=0.0)


def _in_precision(
    call: Call,
    ours: Callable[[Tensors], Tensors],
    twin: Callable[[Tensors], Tensors] | None,
    wanted: list[str],
    precision: torch.dtype,
) -> Row:
    """Return the worst error of the training precision, judged by torch's own in one layer.

    Where there is no twin, and through a whole model, whose gates may fall otherwise in another
    rounding, it is shown and not judged.
    """
    rounded = {k: v.float() if v.is_floating_point() else v for k, v in call.tensors.items()}
    exact = outcomes(
        ours, {k: v.double() if k in wanted else v for k, v in rounded.items()}, wanted, SEED
    )
    mine = _errors(ours, rounded, wanted, exact, precision)
    limits = dict.fromkeys(mine, inf)
    if twin is not None and call.name != WHOLE:
        theirs = _errors(twin, rounded, wanted, exact, precision)
        floor = FLOOR * torch.finfo(precision).eps
        limits = {name: WORSE * theirs[name].relative_error + floor for name in mine}
    worst = max(mine, key=lambda name: (mine[name].relative_error / limits[name], name))
    if not isfinite(limits[worst]):
        worst = max(mine, key=lambda name: mine[name].relative_error)
    return Row(call.name, call.kind, PRECISIONS[precision], mine[worst], limits[worst])


def _errors(
    function: Callable[[Tensors], Tensors],
    tensors: Tensors,
    wanted: list[str],
    exact: Tensors,
    precision: torch.dtype,
) -> dict[str, Comparison]:
    """Return the error of each output and gradient in the training precision."""

    def in_training(given: Tensors) -> Tensors:
        kind = next(iter(given.values())).device.type
        with torch.autocast(kind, precision, enabled=precision != torch.float32):
            return function(given)

    found = outcomes(in_training, tensors, wanted, SEED)
    return {each.tensor: each for each in parity(found, exact)}
