"""Operations under torch.func: grad, vjp, jacrev and vmap, as for any function of torch's.

These transforms want a torch.autograd.Function in another form: what is saved comes out of
`forward` as further outputs, and `setup_context` saves it. That costs time, so that only a call
inside a transform takes this form. The gradients are those of the formula, as everywhere.
Forward mode (jvp, jacfwd, and hessian, which is jacfwd of jacrev) is refused: there is no line of
the mathematics for it. jacrev(jacrev(f)) is a Hessian too.
"""

from typing import Any

import torch
from torch import Tensor


def transformed(op: Any, inputs: tuple[Any, ...]) -> Any:
    """Return the outputs of an operation, differentiable and batched by torch.func."""
    call = _Call(op, inputs)
    found = call.function().apply(*[each for each in inputs if isinstance(each, Tensor)])
    outputs = [None if k is None else found[k] for k in call.outputs]
    return tuple(outputs) if call.is_tuple else outputs[0]


class _Call:
    """One call: which inputs are tensors, and what `forward` found out about its results."""

    def __init__(self, op: Any, inputs: tuple[Any, ...]) -> None:
        self.op, self.plain = op, [None if isinstance(x, Tensor) else x for x in inputs]
        self.is_tensor = [isinstance(x, Tensor) for x in inputs]
        self.is_tuple = False
        self.outputs: list[int | None] = []  # the place of each output among the results
        self.sources: list[tuple[str, Any]] = []  # of each field of Saved
        self.constant: list[int] = []  # the results that have no gradient
        self.kind: Any = None

    def run(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the outputs, then what is saved besides inputs and outputs."""
        inputs = self.merged(self.plain, tensors)
        needed = tuple(isinstance(x, Tensor) and x.is_floating_point() for x in inputs)
        outputs, saved = self.op.run_forward(self.op.formula, inputs, needed)
        self.is_tuple, self.kind = isinstance(outputs, tuple), type(saved)
        outputs = outputs if self.is_tuple else (outputs,)
        results = [each for each in outputs if each is not None]
        places = iter(range(len(results)))
        self.outputs = [None if each is None else next(places) for each in outputs]
        self.constant = [
            place
            for k, place in enumerate(self.outputs)
            if place is not None and k in self.op.traits.non_differentiable
        ]
        self.sources = []
        for value in saved:
            self.sources.append(_source(value, tensors, results))
            if self.sources[-1] == ("result", len(results)):
                self.constant.append(len(results))
                results.append(value)
        return tuple(results)

    def saved(self, tensors: tuple[Tensor, ...]) -> Any:
        """Return the Saved whose tensors autograd kept, in the order of its fields."""
        kept = iter(tensors)
        return self.kind(
            *[value if where == "plain" else next(kept) for where, value in self.sources]
        )

    def merged(self, others: list[Any], tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return one entry for each input: of `tensors` where it is one, else of `others`."""
        each = iter(tensors)
        return tuple(
            next(each) if is_tensor else other
            for is_tensor, other in zip(self.is_tensor, others, strict=True)
        )

    def gradients(self, ctx: Any, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """Return the gradient by each tensor among the inputs."""
        op = self.op
        upstream = tuple(
            None if place is None else grads[place]
            for k, place in enumerate(self.outputs)
            if k not in op.traits.non_differentiable
        )
        needed = self.merged([False] * len(self.plain), ctx.needs_input_grad)
        saved = self.saved(ctx.saved_tensors)
        found = op.run_differentiable_backward(upstream, saved, needed)
        return tuple(
            gradient for gradient, is_one in zip(found, self.is_tensor, strict=True) if is_one
        )

    def function(self) -> type[torch.autograd.Function]:
        """Return the torch.autograd.Function of this call."""
        call = self

        class Transformed(torch.autograd.Function):
            generate_vmap_rule = True

            @staticmethod
            def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
                return call.run(tensors)

            @staticmethod
            def setup_context(
                ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]
            ) -> None:
                ctx.mark_non_differentiable(*[output[k] for k in call.constant])
                found = {"input": inputs, "result": output}
                ctx.save_for_backward(
                    *[found[where][k] for where, k in call.sources if where != "plain"]
                )

            @staticmethod
            def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
                return call.gradients(ctx, grads)

            @staticmethod
            def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
                raise NotImplementedError(
                    f"{call.op.name} has no forward-mode derivative (torch.func.jvp, jacfwd, "
                    "hessian): use torch.func.jacrev, and jacrev(jacrev(f)) for a Hessian"
                )

        return Transformed


def _source(value: Any, tensors: tuple[Tensor, ...], results: list[Tensor]) -> tuple[str, Any]:
    """Tell where a field of Saved comes from: an input, a result, the next result, or neither."""
    if not isinstance(value, Tensor):
        return "plain", value
    for where, known in (("input", tensors), ("result", results)):
        for k, each in enumerate(known):
            if each is value:
                return where, k
    return "result", len(results)
