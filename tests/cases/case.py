"""A case: one way to call an operation or module, its inputs, torch's counterpart, and a reason.

Every test oracle sees a case as two functions of named tensors, ours and torch's. A module's
parameters are among the tensors, under `self.`, so that one set of oracles serves both; its
buffers come back among the outputs, so that running statistics are compared too.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from bptrain import nn, ops
from bptrain.verify.named_tensors import PARAMETER, Tensors, named, reseed

KINK_MARGIN = 0.1  # no input lies closer to a kink than this: far more than a finite difference
NARROW = (torch.float32, torch.bfloat16, torch.float16)

Call = Callable[[Callable[..., Any], Tensors], Any]


@dataclass(frozen=True)
class Inputs:
    """Draws the inputs of a case in one dtype on one device."""

    generator: torch.Generator
    dtype: torch.dtype
    device: torch.device

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Return normally distributed values [shape], rounded once if the dtype has 16 bits."""
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64) * scale
        return drawn.to(self.device, self.dtype)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return values [shape] uniform between `low` and `high`."""
        drawn = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return (low + (high - low) * drawn).to(self.device, self.dtype)

    def off(self, kinks: tuple[float, ...], *shape: int, scale: float = 1.0) -> Tensor:
        """Return normal values [shape] at least KINK_MARGIN away from each of the kinks."""
        drawn = self.normal(*shape, scale=scale)
        for kink in kinks:
            gap = drawn - kink
            near = gap.abs() < KINK_MARGIN
            drawn = torch.where(near, kink + KINK_MARGIN * torch.where(gap < 0, -2, 2), drawn)
        return drawn.to(self.dtype)

    def off_zero(self, *shape: int) -> Tensor:
        """Return values at a distance from the kink at 0."""
        drawn = self.normal(*shape)
        return drawn + KINK_MARGIN * torch.where(drawn < 0, -1, 1)

    def distinct(self, *shape: int) -> Tensor:
        """Return values [shape] of which no two are closer than KINK_MARGIN: no tie in a max."""
        count = torch.Size(shape).numel()
        order = torch.randperm(count, generator=self.generator)
        spaced = (order - count / 2) * (2 * KINK_MARGIN)
        return spaced.view(shape).to(self.device, self.dtype)

    def classes(self, *shape: int, classes: int, ignored: int | None = None) -> Tensor:
        """Return class indices [shape], the first one replaced by `ignored` if that is given."""
        drawn = torch.randint(classes, shape, generator=self.generator)
        if ignored is not None:
            drawn.view(-1)[0] = ignored
        return drawn.to(self.device)

    def values(self, *values: float) -> Tensor:
        """Return exactly these values [n]."""
        return torch.tensor(values, device=self.device, dtype=self.dtype)


def by_name(function: Callable[..., Any], tensors: Tensors) -> Any:
    """Call with every tensor as the keyword of its name."""
    return function(**tensors)


def in_order(function: Callable[..., Any], tensors: Tensors) -> Any:
    """Call with every tensor by position."""
    return function(*tensors.values())


@dataclass(frozen=True)
class OpCase:
    """One way to call an operation. Tensors of floating point are differentiated.

    smooth     False where finite differences would step over a kink or an infinity
    constants  tensors that are never differentiated
    call       how the named tensors become arguments, where not each by its name
    reference  torch's function, where torch.nn.functional has none of the same name
    random     whether it draws random numbers: then each run starts from the same seed
    dtypes     the narrow dtypes in which torch has the operation on the CPU
    at_once    whether one kernel computes all gradients together when they are needed together
               (so its allocations do not show the cost of a single gradient)
    constraint projects the tensors onto those for which the gradient is defined, and leaves the
               drawn ones unchanged: finite differences are taken through it
    """

    op: str
    name: str
    why: str
    arguments: Callable[[Inputs], Tensors]
    options: Mapping[str, Any] = field(default_factory=dict)
    smooth: bool = True
    constants: tuple[str, ...] = ()
    call: Call = by_name
    reference: Callable[..., Any] | None = None
    random: bool = False
    dtypes: tuple[torch.dtype, ...] = NARROW
    at_once: bool = False
    constraint: Callable[[Tensors], Tensors] = lambda tensors: tensors

    @property
    def label(self) -> str:
        """Its name in a test report."""
        return f"{self.op}: {self.name}"

    def draw(self, dtype: torch.dtype, device: str, seed: int = 0) -> Tensors:
        """Return the named tensors."""
        return _inputs(self.arguments, dtype, device, seed)

    def ours(self, tensors: Tensors) -> Tensors:
        """Return the outputs of our function by name."""
        return self._run(getattr(ops, self.op), tensors)

    def expected(self, tensors: Tensors) -> Tensors:
        """Return the outputs of torch's function by name."""
        return self._run(self.reference or getattr(torch.nn.functional, self.op), tensors)

    def _run(self, function: Callable[..., Any], tensors: Tensors) -> Tensors:
        if self.random:
            reseed(next(iter(tensors.values())).device)
        options = self.options
        return named("output", self.call(lambda *a, **k: function(*a, **k, **options), tensors))


@dataclass(frozen=True)
class ModuleCase:
    """One way to construct a module; its forward pass is called with `arguments`.

    training   the mode it runs in; the other fields are as in OpCase
    reference  torch's class, where torch.nn has none of the same name
    is_packed  whether the input is a PackedSequence, into which torch's hooks do not look and whose
               batch_sizes torch.compile cannot trace: their numbers shape the graph
    """

    module: str
    why: str
    options: Mapping[str, Any]
    arguments: Callable[[Inputs], Tensors]
    training: bool = True
    smooth: bool = True
    constants: tuple[str, ...] = ()
    call: Call = in_order
    reference: type[torch.nn.Module] | None = None
    random: bool = False
    dtypes: tuple[torch.dtype, ...] = NARROW
    at_once: bool = False
    constraint: Callable[[Tensors], Tensors] = lambda tensors: tensors
    is_packed: bool = False

    @property
    def label(self) -> str:
        """Its name in a test report."""
        return f"{self.module}: {self.why}"

    @property
    def our_class(self) -> type[torch.nn.Module]:
        """Return our class."""
        found: type[torch.nn.Module] = getattr(nn, self.module)
        return found

    @property
    def torch_class(self) -> type[torch.nn.Module]:
        """Return torch's class of the same name."""
        found: type[torch.nn.Module] = self.reference or getattr(torch.nn, self.module)
        return found

    def build(self, kind: type[torch.nn.Module]) -> torch.nn.Module:
        """Return a module of `kind` with its own initial parameters, the same for both kinds."""
        torch.default_generator.manual_seed(0)  # not torch.manual_seed: see `reseed`
        return kind(**deepcopy(dict(self.options))).train(self.training)

    def draw(self, dtype: torch.dtype, device: str, seed: int = 0) -> Tensors:
        """Return the named tensors, the parameters among them.

        Parameters are changed from their initial values: a weight of ones would hide a missing
        factor, a bias of zeros a missing term.
        """
        draw = Inputs(torch.Generator().manual_seed(seed + 1), dtype, torch.device(device))
        module = self.build(self.torch_class).to(device, dtype)
        parameters = {
            PARAMETER + name: parameter.detach() + draw.normal(*parameter.shape, scale=0.3)
            for name, parameter in module.named_parameters()
        }
        return _inputs(self.arguments, dtype, device, seed) | parameters

    def ours(self, tensors: Tensors) -> Tensors:
        """Return the outputs and buffers of our module by name."""
        return self._run(self.our_class, tensors)

    def expected(self, tensors: Tensors) -> Tensors:
        """Return the outputs and buffers of torch's module by name."""
        return self._run(self.torch_class, tensors)

    def _run(self, kind: type[torch.nn.Module], tensors: Tensors) -> Tensors:
        example = next(each for each in tensors.values() if each.is_floating_point())
        module = self.build(kind).to(example.device, example.dtype)
        shift_buffers(module)
        inputs = {k: v for k, v in tensors.items() if not k.startswith(PARAMETER)}
        parameters = {
            k.removeprefix(PARAMETER): v for k, v in tensors.items() if k.startswith(PARAMETER)
        }
        if self.random:
            reseed(example.device)
        output = self.call(lambda *a, **k: functional_call(module, parameters, a, k), inputs)
        return named("output", output) | named("buffer", dict(module.named_buffers()))


Case = OpCase | ModuleCase


@dataclass(frozen=True)
class Refusal:
    """An option of torch.nn that is not offered: constructing the module with it must say so."""

    module: str
    options: Mapping[str, Any]
    option: str  # as the NotImplementedError names it
    why: str


def shift_buffers(module: torch.nn.Module) -> None:
    """Change buffers from their initial values: a mean of 0 and variance of 1 would hide errors."""
    generator = torch.Generator().manual_seed(3)
    for buffer in module.buffers():
        if buffer.is_floating_point():
            drawn = torch.rand(buffer.shape, generator=generator, dtype=torch.float64)
            buffer.add_(drawn.to(buffer.device, buffer.dtype))


def differentiated(case: Case, tensors: Tensors) -> list[str]:
    """Return the names of the tensors that are differentiated."""
    return [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and name not in case.constants
    ]


def _inputs(
    arguments: Callable[[Inputs], Tensors], dtype: torch.dtype, device: str, seed: int
) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return arguments(Inputs(generator, dtype, torch.device(device)))
