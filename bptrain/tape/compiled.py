"""A program compiled by torch.compile: its two passes as two graphs of pure functions.

Each pass is traced into a graph, without autograd: what the entries keep leaves the forward graph
as results and enters the backward graph. With `kernels: formula` it is the lines of the derivations
that become kernels. Random numbers are torch's own, in the same order as without the compiler.
torch caches what it compiled on disk, between runs too.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map_only, tree_unflatten

from bptrain.tape.calls import Call, Entry, Value
from bptrain.tape.compiler_cache import compiled_despite_damage
from bptrain.tape.program import Parameters, Program, accumulate, without_autocast
from bptrain.tape.run import Completed, Linear
from bptrain.tape.segments import Segment

COMPILERS = ("c++", "g++", "clang++", "cl")
OPTIONS: dict[str, Any] = {"fallback_random": True}  # torch's own random numbers

Graph = Callable[..., Any]


class NotCompiledError(Exception):
    """Why a program cannot be compiled."""


class Place(NamedTuple):
    """Where a leaf of what was kept is found: among the given tensors, or the graph's results."""

    is_given: bool
    number: int


class Kept(NamedTuple):
    """What the entries kept: its structure, and each leaf's place, or a plain leaf itself."""

    spec: TreeSpec
    leaves: list[Any]

    def of(self, given: Sequence[Tensor], results: Sequence[Tensor]) -> Any:
        """Return what was kept, made of the tensors of a run."""
        leaves = [
            (given if each.is_given else results)[each.number] if isinstance(each, Place) else each
            for each in self.leaves
        ]
        return tree_unflatten(leaves, self.spec)


class CompiledProgram:
    """A program whose passes are compiled for the tensors of one kind of batch."""

    def __init__(self, program: Program, tensors: Sequence[Tensor]) -> None:
        self.program = program
        self.carried = program.carried
        state = [number for each in program.carried for number in each.reads]
        self.numbers = [*program.inputs, *state, *program.fixed]
        given = self.given(tensors)
        self.kept: Kept | None = None
        self.forward: Graph = _compiled(self._forward, given)
        with torch.no_grad(), torch.random.fork_rng():
            _, _, loss, results = self.forward(*[each.clone() for each in given])
        self.backward: Graph = _compiled(self._backward, [*given, *results, torch.ones_like(loss)])

    def given(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return what both graphs are given: the batch, what is carried, parameters, buffers."""
        state = [tensor for each in self.carried for tensor in each.slot.tensors]
        return [*tensors, *state, *(each.detach() for each in self.program.fixed.values())]

    def run(self, tensors: Sequence[Tensor]) -> "CompiledRun":
        """Return a run on the tensors of a batch, before its forward pass."""
        return CompiledRun(self, self.given(tensors))

    def _forward(self, *given: Tensor) -> tuple[Any, list[Tensor], Tensor, list[Tensor]]:
        """Return outputs, what is carried on, the loss, and what was kept and not given."""
        program = self.program
        values: list[Any] = [None] * program.values
        for number, tensor in zip(self.numbers, given, strict=True):
            values[number] = tensor
        leaves, spec = tree_flatten([entry.forward(values) for entry in program.entries])
        known = {id(each): Place(True, number) for number, each in enumerate(given)}
        results: list[Tensor] = []
        for each in leaves:
            if isinstance(each, Tensor) and id(each) not in known:
                known[id(each)] = Place(False, len(results))
                results.append(each)
        places = [known[id(each)] if isinstance(each, Tensor) else each for each in leaves]
        self.kept = Kept(spec, places)
        outputs = tree_map_only(Value, lambda each: values[each.number], program.outputs)
        state = [values[number] for each in self.carried for number in each.written]
        return outputs, state, values[program.loss], results

    def _backward(self, *given: Tensor) -> list[Tensor | None]:
        """Return the gradients by the parameters, given the tensors, what was kept and L'."""
        assert self.kept is not None
        tensors, results = given[: len(self.numbers)], given[len(self.numbers) : -1]
        saved = self.kept.of(tensors, results)
        gradients: list[Tensor | None] = [None] * self.program.values
        gradients[self.program.loss] = given[-1]
        for entry in reversed(self.program.entries):
            entry.backward(gradients, saved.pop())
        return [gradients[number] for number, _ in self.parameters]

    @property
    def parameters(self) -> Parameters:
        """The parameters that need a gradient, with their numbers."""
        return self.program.parameters


class CompiledRun:
    """One run of a compiled program."""

    def __init__(self, compiled: CompiledProgram, given: list[Tensor]) -> None:
        self.compiled, self.given_tensors = compiled, given

    def forward(self) -> Any:
        """Run the forward pass and the loss, and return the model's outputs."""
        with torch.no_grad(), without_autocast():
            found = self.compiled.forward(*self.given_tensors)
        outputs, state, self.value, self.results = found
        carried = self.compiled.carried
        numbers = [number for each in carried for number in each.written]
        values = dict(zip(numbers, state, strict=True))
        for each in carried:
            each.assign(values)
        return outputs

    def loss(self) -> Tensor:
        """Return the loss of the outputs."""
        loss: Tensor = self.value
        return loss

    def backward(self, minimized: Linear, completed: Completed | None = None) -> None:
        """Add the gradient of `minimized(loss)` by each parameter to its `.grad`.

        The graph returns all gradients at its end, so that they are complete together.
        """
        upstream = minimized(torch.ones_like(self.value))
        with torch.no_grad(), without_autocast():
            found = self.compiled.backward(*self.given_tensors, *self.results, upstream)
            given = {upstream.data_ptr()}
            for (_, parameter), gradient in zip(self.compiled.parameters, found, strict=True):
                if gradient is not None:
                    accumulate(parameter, gradient, given)
                if completed is not None:
                    completed(parameter)


def with_norms_by_formula(program: Program) -> Program:
    """Return the program with the formulas in place of the kernels of norms in 16 bits.

    The compiler has code of its own for such a kernel, which rounds the statistics that the
    backward pass reads to 16 bits; the kernel of the backward pass refuses them.
    """
    entries = [
        replace(each, passes=each.operation.formula) if is_norm_in_16_bits(each) else each
        for each in program.entries
    ]
    return program.with_entries(entries, program.boundary)


def is_norm_in_16_bits(entry: Entry) -> TypeGuard[Call]:
    """Return whether an entry is a normalization that reads 16-bit numbers."""
    if not isinstance(entry, Call) or "norm" not in entry.operation.name:
        return False
    return any(like is not None and like.dtype.itemsize == 2 for like in entry.read)


def refuse_what_is_not_compiled(program: Program) -> None:
    """Raise NotCompiledError for segments, for several lengths, or without a compiler."""
    if not any(map(shutil.which, COMPILERS)):
        raise NotCompiledError("no C++ compiler was found: install g++ or clang")
    if program.packings:
        raise NotCompiledError("sequences of several lengths are not compiled")
    for entry in program.entries:
        if isinstance(entry, Segment):
            raise NotCompiledError("checkpointing draws the same random numbers twice")


def _compiled(function: Callable[..., Any], given: Sequence[Tensor]) -> Graph:
    """Return a function of these tensors as compiled code. Raises NotCompiledError."""
    # the compiler takes a second to import, and most runs do without
    from torch.fx.experimental.proxy_tensor import make_fx

    def compile_it() -> Graph:
        with torch.no_grad(), without_autocast(), torch.random.fork_rng():
            graph = make_fx(function)(*[each.clone() for each in given])
            compiled: Graph = torch.compile(graph, fullgraph=True, dynamic=False, options=OPTIONS)
            compiled(*[each.clone() for each in given])  # compiles it now, on copies
        return compiled

    try:
        return compiled_despite_damage(compile_it)
    except Exception as error:  # whatever the compiler, or the compiler's compiler, raises
        raise failure(error) from error


def failure(error: Exception) -> NotCompiledError:
    """Return what is said of an error of the compiler."""
    lines = [each for each in str(error).splitlines() if each and not each.endswith("raised:")]
    what = lines[0] if lines else type(error).__name__
    return NotCompiledError(f"torch.compile fails: {what}")
