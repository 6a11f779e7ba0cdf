"""Direct feedback alignment: each hidden layer gets the error of the output itself, through a B.

Shapes     y [N, ...], K numbers a sample, the model's output   h [N, ...], H numbers a sample, the
           input of a layer   B [K, H], one for each layer but those that read the batch
Forward    unchanged: y stays y
Rule       writing h', W', b' for what takes the place of dL/dh, dL/dW, dL/db, given y' = dL/dy
    h' = y' B        in place of what the layer that reads h would send back to it
    W', b'           as in ops/linear.py and ops/conv.py: of h and of what the layer's output gets
           From h' on, the operations between two layers (activation, pooling, normalization) have
           their own backward pass. B is drawn once, N(0, 2 / (K + H)), as the weight of an output
           layer that reads h, and never learns. The last layer's W' and b' are the gradient. Of a
           sum of h and a layer's output, as in a residual block, both get what the sum gets.
On the tape
           y runs through one further operation for each layer, whose output is y, and which sends
           y' on to y and y' B to h. The layer that reads h sends nothing back.
Cost       2NKH flops a layer backward, in place of the layer's own 2NHO; the h' of all layers are
           in memory at once, and B takes KH numbers: many for a convolution's large h
Source     Nokland 2016, "Direct feedback alignment provides learning in deep neural networks",
           NeurIPS. There B is uniform
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from bptrain.ops.operation import operation
from bptrain.tape.calls import Call, Entry, Function, Like, Value
from bptrain.tape.learning_rules.feedback import Feedback
from bptrain.tape.learning_rules.weights import Changed, Weighted, weighted_calls
from bptrain.tape.program import Program
from bptrain.tape.recorder import OffTapeError


class Saved(NamedTuple):
    """What the backward pass reads."""

    B: Tensor  # [K, H]
    size: torch.Size  # of h


class Needs(NamedTuple):
    """Which gradients are needed."""

    y: bool
    h: bool


def forward(y: Tensor, h: Tensor, B: Tensor, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y."""
    return y, Saved(B, h.shape)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor, Tensor]:
    """Return y', and h' in the shape of h."""
    rows = grad_y.reshape(-1, saved.B.shape[0])  # [N, K]
    return grad_y, rows.mm(saved.B).view(saved.size)


direct_feedback_function = operation(forward, backward)


class DirectFeedbackAlignment:
    """The rule, with the matrices of a seed."""

    name = "direct_feedback_alignment"

    def __init__(self, seed: int) -> None:
        self.feedback = Feedback(seed)

    def changed(self, program: Program) -> Changed:
        """Return the program with the output's error sent to each layer."""
        model, loss = program.entries[: program.boundary], program.entries[program.boundary :]
        fixed, names = dict(program.fixed), {}
        first, y = output_of(program)
        output, values = first, program.values
        for weighted in weighted_calls(program):
            if weighted.place >= program.boundary:
                raise OffTapeError(f"{weighted.name} is a layer of the loss, after the output")
            B, sent = values, values + 1
            names[B] = f"feedback {weighted.name}".rstrip()
            fixed[B] = self.feedback.matrix(names[B], _matrix_like(weighted, y))
            call = weighted.call
            model[weighted.place] = replace(call, needed=(False, *call.needed[1:]))
            model.append(_sending(call, (output, B, sent), y))
            output, values = sent, values + 2
        return Changed(
            replace(
                program,
                entries=[*model, *(_reading(output, first, each) for each in loss)],
                boundary=len(model),
                fixed=fixed,
                outputs=Value(output),
                values=values,
            ),
            names,
        )


def output_of(program: Program) -> tuple[int, Like]:
    """Return the number of the model's output, and what it is like.

    Raises OffTapeError if it is not one tensor that the model computes.
    """
    output = program.outputs
    if isinstance(output, Value):
        for entry in program.entries[: program.boundary]:
            for number, like in zip(entry.outputs, entry.likes, strict=True):
                if number == output.number and like is not None:
                    return number, like
    raise OffTapeError("the model's output is not one tensor, whose error could be sent back")


def _matrix_like(weighted: Weighted, y: Like) -> Like:
    """Return what B is like: from the K numbers of a sample of y to the H of the layer's input.

    Raises OffTapeError if they are not of the same samples.
    """
    h = weighted.call.read[0]
    assert h is not None, "the input of a layer is a tensor"
    if y.shape[:1] != h.shape[:1]:
        raise OffTapeError(
            f"{weighted.name} reads {list(h.shape)} and the output is {list(y.shape)}: the error "
            "of a sample is sent to the same sample, and their first axes differ"
        )
    shape = torch.Size((y.shape[1:].numel(), h.shape[1:].numel()))
    return Like(shape, y.dtype, y.device)


def _sending(call: Call, numbers: tuple[int, int, int], y: Like) -> Call:
    """Return the call that sends the output's error to the input of a layer.

    numbers  of the output before it, of B, and of its own output
    """
    output, B, sent = numbers
    return Call(
        direct_feedback_function,
        direct_feedback_function.formula,
        arguments=(Value(output), call.arguments[0], Value(B)),
        outputs=(sent,),
        needed=(True, True, False),
        read=(y, call.read[0], None),
        likes=(y,),
        layer=call.layer,
    )


def _reading(output: int, first: int, entry: Entry) -> Entry:
    """Return an entry of the loss that reads the model's output under its last number."""
    assert isinstance(entry, Call | Function), "a program that is changed was recorded"

    def renumbered(value: Value) -> Value:
        return Value(output) if value.number == first else value

    if isinstance(entry, Call):
        return replace(entry, arguments=tree_map_only(Value, renumbered, entry.arguments))
    arguments, options = tree_map_only(Value, renumbered, (entry.arguments, entry.options))
    return replace(entry, arguments=arguments, options=options)
