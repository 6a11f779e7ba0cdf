"""Feedback alignment: a fixed random matrix B carries the error back in place of W.

Shapes     as in ops/linear.py, ops/conv.py and ops/conv_transpose.py; B in the shape of W
Forward    as there
Rule       writing x', W', b' for what takes the place of dL/dx, dL/dW, dL/db, given y'
    x' = y' B        in place of y' W; for a convolution its transposed one with B
    W', b'           as there: of x and of the y' that arrives, they need no W
           B is drawn once, N(0, 2 / (fan_in + fan_out)), and never learns. In a first layer, and in
           every layer that has none behind it, W' and b' are the gradient's own formula of a y'
           that is none. The last layer's W' and b' are the gradient.
Why it learns
           W' moves W so that y' B becomes a direction of descent: while the weights after a layer
           learn, they come to lie within 90 degrees of B
Cost       as backpropagation; B takes the memory of W once more
Source     Lillicrap, Cownden, Tweed and Akerman 2016, "Random synaptic feedback weights support
           error backpropagation for deep learning", Nature Communications 7:13276. There B is
           uniform. For convolutions: Sanfiz and Akrout 2021, "Benchmarking the accuracy and
           robustness of feedback alignment algorithms", arXiv:2108.13446
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from bptrain.ops import conv, conv_transpose, convolution
from bptrain.ops.linear import Needs as LinearNeeds
from bptrain.ops.linear import Saved as LinearSaved
from bptrain.ops.linear import backward as linear_backward
from bptrain.ops.linear import forward as linear_forward
from bptrain.ops.linear import linear_function
from bptrain.ops.operation import Operation, operation
from bptrain.tape.calls import Call, Entry, Like, Value
from bptrain.tape.learning_rules.feedback import Feedback
from bptrain.tape.learning_rules.weights import Changed, weighted_calls
from bptrain.tape.program import Program


def forward_linear(
    x: Tensor, W: Tensor, b: Tensor | None, B: Tensor, needs: LinearNeeds
) -> tuple[Tensor, LinearSaved]:
    """Return y [..., O]; the backward pass reads B where it would read W."""
    y, saved = linear_forward(x, W, b, needs)
    return y, saved._replace(W=B if needs.x else None)


def forward_conv(
    x: Tensor,
    W: Tensor,
    b: Tensor | None,
    geometry: convolution.Geometry,
    B: Tensor,
    needs: convolution.Needs,
) -> tuple[Tensor, convolution.Saved]:
    """Return y [N, O, P]; the backward pass reads B where it would read W."""
    y, saved = conv.forward(x, W, b, geometry, needs)
    return y, saved._replace(W=B if needs.x else None)


def forward_conv_transpose(
    x: Tensor,
    W: Tensor,
    b: Tensor | None,
    geometry: convolution.Geometry,
    B: Tensor,
    needs: convolution.Needs,
) -> tuple[Tensor, convolution.Saved]:
    """Return y [N, O, P]; the backward pass reads B where it would read W."""
    y, saved = conv_transpose.forward(x, W, b, geometry, needs)
    return y, saved._replace(W=B if needs.x else None)


WITH_FEEDBACK: dict[Operation[Any], Operation[Any]] = {
    linear_function: operation(forward_linear, linear_backward),
    conv.conv_function: operation(forward_conv, conv.backward, fused_backward=conv.fused_backward),
    conv_transpose.conv_transpose_function: operation(
        forward_conv_transpose,
        conv_transpose.backward,
        fused_backward=conv_transpose.fused_backward,
    ),
}


class FeedbackAlignment:
    """The rule, with the matrices of a seed."""

    name = "feedback_alignment"

    def __init__(self, seed: int) -> None:
        self.feedback = Feedback(seed)

    def changed(self, program: Program) -> Changed:
        """Return the program with B in place of W on the way back."""
        entries: list[Entry] = list(program.entries)
        fixed, names = dict(program.fixed), {}
        for number, (place, call, layer) in enumerate(weighted_calls(program), program.values):
            W = call.read[1]
            assert W is not None, "the weights are a tensor"
            names[number] = f"feedback {layer}".rstrip()
            fixed[number] = self.feedback.matrix(names[number], W)
            entries[place] = with_feedback(call, number, W)
        values = program.values + len(names)
        return Changed(replace(program, entries=entries, fixed=fixed, values=values), names)


def with_feedback(call: Call, number: int, B: Like) -> Call:
    """Return the call with the matrix B, the value of this number, on the way back."""
    changed = WITH_FEEDBACK[call.operation]
    return replace(
        call,
        operation=changed,
        passes=changed.fused if call.passes == call.operation.fused else changed.formula,
        arguments=(*call.arguments, Value(number)),
        needed=(*call.needed, False),
        read=(*call.read, B),
    )
