"""Cases of the rotary position embedding."""

from collections.abc import Callable

import torch
from torch import Tensor

from bptrain.nn.counterparts import TorchRotary
from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase

Arguments = Callable[[Inputs], Tensors]
CONSTANTS = ("cos", "sin")  # as where angles are not learned


def by_pairs(input: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return the pairs as complex numbers times e^(ia), or in 16 bits by the lines of the module.

    torch has no complex numbers of bfloat16.
    """
    if input.element_size() == 2:
        return TorchRotary()(input, cos, sin)
    u, v = input.chunk(2, -1)
    turned = torch.complex(u, v) * torch.complex(cos, sin).to(input.device)
    return torch.cat([turned.real, turned.imag], -1)


def _turned(*shape: int, transposed: bool = False, zero: bool = False) -> Arguments:
    """Draw x [..., T, E] and cos and sin of drawn angles; transposed: T before the heads."""

    def draw(inputs: Inputs) -> Tensors:
        x = inputs.normal(*shape)
        x = x.transpose(1, 2) if transposed else x
        angles = inputs.normal(x.shape[-2], x.shape[-1] // 2, scale=0.0 if zero else 3.0)
        return {"input": x, "cos": angles.cos(), "sin": angles.sin()}

    return draw


class Rotary(TorchRotary):
    """The reference by torch's own operations; torch.nn has none."""


def _case(name: str, why: str, arguments: Arguments, constants: tuple[str, ...] = ()) -> OpCase:
    return OpCase("rotary", name, why, arguments, constants=constants, reference=by_pairs)


def _module(why: str, arguments: Arguments, constants: tuple[str, ...] = ()) -> ModuleCase:
    return ModuleCase("Rotary", why, {}, arguments, constants=constants, reference=Rotary)


_of_a_projection = _turned(2, 3, 2, 4, transposed=True)
OPS = [
    _case("heads", "the usual shape", _turned(2, 2, 3, 4)),
    _case("constant angles", "the usual call", _turned(2, 2, 3, 4), CONSTANTS),
    _case("learned angles", "x is constant", _turned(2, 2, 3, 4), ("input",)),
    _case("heads of a projection", "their layout: steps before heads", _of_a_projection),
    _case("one sequence", "no leading axis", _turned(5, 6)),
    _case("one pair", "a single angle at each step", _turned(2, 3, 2)),
    _case("one step", "as a text is generated", _turned(2, 2, 1, 4)),
    _case("no angle", "what nothing turns stays", _turned(2, 3, 4, zero=True)),
    _case("empty", "an empty batch", _turned(0, 2, 3, 4)),
    _case("no step", "an empty sequence", _turned(2, 0, 4)),
]
MODULES = [
    _module("heads", _turned(2, 2, 3, 4), CONSTANTS),
    _module("one sequence, learned angles", _turned(3, 4)),
]
