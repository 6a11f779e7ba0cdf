"""The contract of every operation, and the one place where it meets autograd.

An operation is two pure functions:

    forward(*inputs, needs) -> outputs, Saved
    backward(*grad_outputs, saved, needs) -> gradients

    inputs        tensors, None for an optional one that is missing, and plain values
    outputs       a tensor, or a tuple of tensors; None for one that is not computed
    Saved         a NamedTuple of all that the backward pass reads, tensors and plain values. What
                  is saved is decided in `forward`, by `needs`, and nowhere else
    grad_outputs  the loss's gradient by each differentiable output, zeros where it has none; None
                  where the operation says that this saves it work (`optional_gradients`)
    needs         which gradients are needed: a NamedTuple of bools, its fields named as the inputs
                  that have a gradient. An operation whose first input alone has one takes no
                  `needs`; one that takes any number of tensors (`*tensors`, last) has a tuple
    gradients     one for each field of `needs`, in order, None if it is not needed; without
                  `needs` the one gradient itself

The lines of both are the mathematics of the file's docstring. Where a library's kernel computes
the same faster, it stands beside them as `fused_forward` or `fused_backward`, with the same
arguments and results, and `kernels.py` chooses. If not both directions have a kernel, the formula
serves the other, and both use one Saved.

This file does the rest, once for all: saving tensors, autocast, gradients that are not needed,
outputs that have no gradient, second derivatives, and the refusal of complex numbers.

Second derivatives (create_graph=True, and torch.func) record the lines of the formula's `backward`,
whatever the kernels; second_derivatives.py says what makes them right.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from bptrain.ops.function_transforms import transformed
from bptrain.ops.in_place import no_views_inside, written_into
from bptrain.ops.kernels import Kernels, chosen_kernels
from bptrain.ops.precision import AS_GIVEN, Precision, autocast_device
from bptrain.ops.recording import current_recorder
from bptrain.ops.second_derivatives import connected, is_transformed

Outputs = TypeVar("Outputs")
Gradients = tuple[Tensor | None, ...]


class Passes(NamedTuple):
    """The two functions that compute an operation."""

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Any]


class Traits(NamedTuple):
    """What is to be known of an operation besides its passes; `operation` says what each means."""

    precision: Precision = AS_GIVEN
    non_differentiable: tuple[int, ...] = ()
    optional_gradients: tuple[int, ...] = ()
    constants: tuple[str, ...] = ()
    reconnect: Callable[[Any], Any] | None = None
    takes_complex: bool = False


class Operation(Generic[Outputs]):
    """A differentiable function, called with the inputs of its `forward` except `needs`.

    name               of the file that holds it, and what follows "forward" in the function's name
    formula, fused     the passes for each choice of kernels; equal where there is no kernel
    traits             what `operation` was told besides
    inputs             the names of its inputs
    differentiable     the positions of the inputs that have a gradient
    function           the torch.autograd.Function
    """

    def __init__(self, formula: Passes, fused: Passes, traits: Traits) -> None:
        stem = formula.forward.__module__.rpartition(".")[2]
        self.name = stem + formula.forward.__name__.removeprefix("forward")
        self.formula, self.fused, self.traits = formula, fused, traits
        self.precision = traits.precision
        parameters = inspect.signature(formula.forward).parameters
        self.inputs = tuple(name for name in parameters if name != "needs")
        self.is_variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
        self.needs: type[Any] | None = None
        self.differentiable: tuple[int, ...] = (0,)
        if "needs" in parameters and not self.is_variadic:
            self.needs = parameters["needs"].annotation
            self.differentiable = tuple(map(self.inputs.index, self.needs._fields))
        self.function = _autograd_function(self)

    def __call__(self, *inputs: Any) -> Outputs:
        """Return the outputs, differentiable by autograd. Raises ValueError for complex numbers."""
        self._check(inputs)
        # These two questions cost 0.2 us; the device that autocast may be on for, 1 us.
        if torch._C._is_any_autocast_enabled():
            inputs = self._cast(inputs)
        recorder = current_recorder()
        if recorder is not None:
            outputs: Outputs = recorder.call(self, inputs)
        elif torch._C._are_functorch_transforms_active():
            outputs = transformed(self, inputs)
        else:
            outputs = self.function.apply(*inputs)
        return outputs

    def _cast(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the inputs as autocast's policy wants them, cast by autograd's own operation.

        A cast inside the function would hide from second derivatives what is saved.
        """
        device_type = autocast_device(inputs)
        return inputs if device_type is None else self.precision.inputs(inputs, device_type)

    def _check(self, inputs: tuple[Any, ...]) -> None:
        """Raise ValueError for complex numbers, unless their gradient is right."""
        if not self.traits.takes_complex:
            for each in inputs:
                if isinstance(each, Tensor) and each.is_complex():
                    raise ValueError(f"{self.name} has a {each.dtype} input, expected real numbers")

    def in_place_if(self, inplace: bool) -> Callable[..., Outputs]:
        """Return the operation, or if asked for, the one that writes its output into its input."""
        return self.call_in_place if inplace else self

    def call_in_place(self, *inputs: Any) -> Outputs:
        """Return the first input, with the output written into it."""
        self._check(inputs)
        recorder = current_recorder()
        if recorder is not None:
            written: Outputs = recorder.call(self, inputs, in_place=True)
        elif torch._C._are_functorch_transforms_active():
            x, *others = inputs
            written = x.copy_(transformed(self, (x.clone(), *others)))
        else:
            written = self.function_in_place.apply(*inputs)
        return written

    @cached_property
    def function_in_place(self) -> type[torch.autograd.Function]:
        """The torch.autograd.Function that writes the output into the first input."""
        return _autograd_function(self, in_place=True)

    @property
    def has_kernel(self) -> bool:
        """Whether a library's kernel computes one of its directions."""
        return self.fused != self.formula

    def passes(self, kernels: Kernels) -> Passes:
        """Return the two functions that compute it with these kernels."""
        return self.fused if kernels == "fused" else self.formula

    def run_forward(
        self, passes: Passes, inputs: tuple[Any, ...], needed: tuple[bool, ...]
    ) -> tuple[Any, Any]:
        """Return outputs and Saved; `needed` tells of each input whether its gradient is needed."""
        device_type = autocast_device(inputs) if torch._C._is_any_autocast_enabled() else None
        if device_type is None:
            return self.compute(passes, inputs, needed, under_autocast=False)
        with torch.autocast(device_type, enabled=False):
            given = self.precision.inputs(inputs, device_type)
            outputs, saved = self._forward(passes, given, needed)
        return self.rounded(outputs, inputs, True), saved

    def compute(
        self,
        passes: Passes,
        inputs: tuple[Any, ...],
        needed: tuple[bool, ...],
        under_autocast: bool,
    ) -> tuple[Any, Any]:
        """Return the same of inputs that are cast already, while autocast is off."""
        outputs, saved = self._forward(passes, inputs, needed)
        return self.rounded(outputs, inputs, under_autocast), saved

    def rounded(self, outputs: Any, inputs: tuple[Any, ...], under_autocast: bool) -> Any:
        """Return the outputs, a loss in the dtype that it is returned in."""
        if not self.precision.is_loss:
            return outputs
        first, *others = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = self.precision.loss(first, inputs, under_autocast)
        return (loss, *others) if others else loss

    def _forward(
        self, passes: Passes, inputs: tuple[Any, ...], needed: tuple[bool, ...]
    ) -> tuple[Any, Any]:
        found: tuple[Any, Any] = self.bound(passes, needed).forward(*inputs)
        return found

    def bound(self, passes: Passes, needed: tuple[bool, ...]) -> Passes:
        """Return the passes for the gradients that are needed, without the argument `needs`.

        The backward pass returns a tuple, of the gradients by the inputs at `places(needed)`.
        """
        forward, backward = passes
        if self.is_variadic:
            those = needed[len(self.inputs) - 1 :]
            return Passes(
                lambda *inputs: forward(*inputs, needs=those),
                lambda *given: tuple(backward(*given, those)),
            )
        if self.needs is None:
            return Passes(forward, lambda *given: (backward(*given),))
        needs = self.needs(*[needed[k] for k in self.differentiable])
        return Passes(
            lambda *inputs: forward(*inputs, needs), lambda *given: backward(*given, needs)
        )

    def places(self, needed: tuple[bool, ...]) -> tuple[int, ...]:
        """Return the positions of the inputs whose gradients a bound backward pass returns."""
        if self.is_variadic:
            return tuple(range(len(self.inputs) - 1, len(needed)))
        return self.differentiable

    def run_backward(
        self, passes: Passes, grads: tuple[Tensor, ...], saved: Any, needed: tuple[bool, ...]
    ) -> Gradients:
        """Return the gradient by each input, None where it is not needed or there is none."""
        device_type = autocast_device(grads) if torch._C._is_any_autocast_enabled() else None
        if device_type is None:
            return self.gradients(passes, grads, saved, needed)
        with torch.autocast(device_type, enabled=False):
            return self.gradients(passes, grads, saved, needed)

    def run_differentiable_backward(
        self, grads: tuple[Tensor, ...], saved: Any, needed: tuple[bool, ...]
    ) -> Gradients:
        """Return the same by the formula, for autograd to record or torch.func to batch.

        Raises NotImplementedError where the second derivative would lack a part.
        """
        device_type = autocast_device(grads) or "cpu"
        with torch.autocast(device_type, enabled=False):
            is_recorded = torch.is_grad_enabled()
            again = connected(self, saved, needed) if is_recorded else self.reconnect(saved)
            return self.gradients(self.formula, grads, again, needed)

    def reconnect(self, saved: Any) -> Any:
        """Return Saved with the tensors that are neither inputs nor outputs computed again."""
        return saved if self.traits.reconnect is None else self.traits.reconnect(saved)

    def gradients(
        self, passes: Passes, grads: tuple[Any, ...], saved: Any, needed: tuple[bool, ...]
    ) -> Gradients:
        """Return the gradient by each input, while autocast is off."""
        gradients: list[Tensor | None] = [None] * len(needed)
        found = self.bound(passes, needed).backward(*grads, saved)
        for position, gradient in zip(self.places(needed), found, strict=True):
            gradients[position] = gradient
        return tuple(gradients)


def operation(
    forward: Callable[..., tuple[Outputs, Any]],
    backward: Callable[..., Any],
    *,
    fused_forward: Callable[..., tuple[Outputs, Any]] | None = None,
    fused_backward: Callable[..., Any] | None = None,
    precision: Precision = AS_GIVEN,
    non_differentiable: tuple[int, ...] = (),
    optional_gradients: tuple[int, ...] = (),
    constants: tuple[str, ...] = (),
    reconnect: Callable[[Any], Any] | None = None,
    takes_complex: bool = False,
) -> Operation[Outputs]:
    """Return the operation that `forward` and `backward` define.

    precision           its policy under autocast
    non_differentiable  positions of outputs that have no gradient, such as indices
    optional_gradients  positions of outputs whose gradient is None in `backward`, not zeros, where
                        the loss does not read the output
    constants           the fields of Saved that hold numbers of floating point without a derivative
    reconnect           Saved -> Saved, for second derivatives: computes the fields again that are
                        neither inputs, outputs nor constants, from the inputs in Saved
    takes_complex       whether its gradient is right for complex numbers: with real coefficients
                        the conjugates make no difference
    """
    formula = Passes(forward, backward)
    fused = Passes(fused_forward or forward, fused_backward or backward)
    traits = Traits(
        precision, non_differentiable, optional_gradients, constants, reconnect, takes_complex
    )
    return Operation(formula, fused, traits)


def operations_behind(outputs: Iterable[Tensor]) -> set[Operation[Any]]:
    """Return the operations in the autograd graph that leads to these outputs."""
    found: set[Operation[Any]] = set()
    seen, waiting = set(), [output.grad_fn for output in outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        function = getattr(node, "_forward_cls", None)  # of a torch.autograd.Function
        computed_by = getattr(function, "operation", None)
        if computed_by is not None:
            found.add(computed_by)
    return found


def _autograd_function(op: Operation[Any], in_place: bool = False) -> type[torch.autograd.Function]:
    """Return the torch.autograd.Function that runs an operation."""
    without, optional = op.traits.non_differentiable, op.traits.optional_gradients

    def forward(ctx: Any, *inputs: Any) -> Any:
        # chosen here for both directions: the backward pass may run in a thread of autograd's
        ctx.passes = op.passes(chosen_kernels())
        outputs, saved = op.run_forward(ctx.passes, inputs, ctx.needs_input_grad)
        if in_place:
            outputs, saved = written_into(inputs[0], outputs, saved)
            ctx.mark_dirty(outputs)
        elif not torch.compiler.is_compiling():  # a compiled graph has no views of this kind
            outputs, saved = no_views_inside(inputs, outputs, saved)
        _save(ctx, saved)
        # undefined gradients come as None, so that none is made for an output without gradient
        ctx.set_materialize_grads(False)
        if isinstance(outputs, tuple):
            ctx.mark_non_differentiable(*_present(outputs, without))
            ctx.likes = [
                None if each is None or position in optional else _like(each)
                for position, each in enumerate(outputs)
            ]
        return outputs

    def backward(ctx: Any, *grads: Tensor | None) -> Gradients:
        if all(grad is None for grad in grads):
            return (None,) * len(ctx.needs_input_grad)
        upstream: Any = grads if len(grads) == 1 else _defined(ctx.likes, grads, without)
        # Gradients are on here only when the caller asked for create_graph.
        if is_transformed():
            return op.run_differentiable_backward(upstream, saved_by(ctx), ctx.needs_input_grad)
        return op.run_backward(ctx.passes, upstream, saved_by(ctx), ctx.needs_input_grad)

    body = {
        "forward": staticmethod(forward),
        "backward": staticmethod(backward),
        "operation": op,
    }
    name = "".join(part.capitalize() for part in op.name.split("_"))
    return type(f"{name}Function", (torch.autograd.Function,), body)


def _save(ctx: Any, saved: Any) -> None:
    """Give the tensors of a Saved to autograd, which frees them in time, and the rest to ctx."""
    ctx.save_for_backward(*[each for each in saved if isinstance(each, Tensor)])
    ctx.kind = type(saved)
    ctx.fields = [Tensor if isinstance(each, Tensor) else each for each in saved]


def saved_by(ctx: Any) -> Any:
    """Return the Saved of a call, given its node in autograd's graph."""
    tensors = iter(ctx.saved_tensors)
    return ctx.kind(*[next(tensors) if field is Tensor else field for field in ctx.fields])


def _present(outputs: tuple[Any, ...], positions: tuple[int, ...]) -> list[Tensor]:
    return [outputs[position] for position in positions if outputs[position] is not None]


def _like(output: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return output.shape, output.dtype, output.device


def _defined(
    likes: list[Any], grads: tuple[Tensor | None, ...], without: tuple[int, ...]
) -> tuple[Tensor, ...]:
    """Return the gradients of the differentiable outputs, zeros for those that have none."""

    def defined() -> Iterator[Tensor]:
        for position, (like, grad) in enumerate(zip(likes, grads, strict=True)):
            if position in without:
                continue
            if grad is None and like is not None:
                shape, dtype, device = like
                grad = torch.zeros(shape, dtype=dtype, device=device)
            yield grad  # type: ignore[misc]

    return tuple(defined())
