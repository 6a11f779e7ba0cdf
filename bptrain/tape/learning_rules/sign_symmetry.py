"""Sign symmetry: the signs of W alone carry the error back, all of one size.

Shapes     as in ops/linear.py, ops/conv.py and ops/conv_transpose.py; V in the shape of W
Forward    as there
Rule       writing x', W', b' for what takes the place of dL/dx, dL/dW, dL/db, given y'
    V  = s sign(W)   with s = sqrt(2 / (fan_in + fan_out)), which no learning changes
    x' = y' V        in place of y' W; for a convolution its transposed one with V
    W', b'           as there: of x and of the y' that arrives, they need no W
           The last layer's W' and b' are the gradient.
Saves      what backpropagation does; V is made when it is read, and released
Cost       as backpropagation, and a pass over W
Source     Liao, Leibo and Poggio 2016, "How important is weight symmetry in backpropagation?",
           AAAI: uniform sign-concordant feedback, V = sign(W). There batch normalization, and the
           sign of the update in place of its size, hold what the size of V would make explode. The
           scale s does so here, as in Sanfiz and Akrout 2021, arXiv:2108.13446
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from bptrain.ops import conv, conv_transpose, convolution
from bptrain.ops.linear import Gradients as LinearGradients
from bptrain.ops.linear import Needs as LinearNeeds
from bptrain.ops.linear import Saved as LinearSaved
from bptrain.ops.linear import backward as linear_backward
from bptrain.ops.linear import forward as linear_forward
from bptrain.ops.linear import linear_function
from bptrain.ops.operation import Operation, operation
from bptrain.tape.calls import Entry
from bptrain.tape.learning_rules.feedback import glorot_std
from bptrain.tape.learning_rules.weights import Changed, weighted_calls
from bptrain.tape.program import Program


def signs(W: Tensor | None) -> Tensor | None:
    """Return V, in the shape of W; None where W is not saved."""
    return None if W is None else W.sign().mul_(glorot_std(W.shape))


def backward_linear(grad_y: Tensor, saved: LinearSaved, needs: LinearNeeds) -> LinearGradients:
    """Return x' [..., I], W' [O, I], b' [O], each None if it is not needed."""
    return linear_backward(grad_y, saved._replace(W=signs(saved.W)), needs)


def backward_conv(
    grad_y: Tensor, saved: convolution.Saved, needs: convolution.Needs
) -> convolution.Gradients:
    """Return x' [N, C, H], W' in the shape of W, b' [O], each None if it is not needed."""
    return conv.backward(grad_y, saved._replace(W=signs(saved.W)), needs)


def fused_backward_conv(
    grad_y: Tensor, saved: convolution.Saved, needs: convolution.Needs
) -> convolution.Gradients:
    """Return the same by kernels."""
    return conv.fused_backward(grad_y, saved._replace(W=signs(saved.W)), needs)


def backward_conv_transpose(
    grad_y: Tensor, saved: convolution.Saved, needs: convolution.Needs
) -> convolution.Gradients:
    """Return x' [N, C, H], W' in the shape of W, b' [O], each None if it is not needed."""
    return conv_transpose.backward(grad_y, saved._replace(W=signs(saved.W)), needs)


def fused_backward_conv_transpose(
    grad_y: Tensor, saved: convolution.Saved, needs: convolution.Needs
) -> convolution.Gradients:
    """Return the same by kernels."""
    return conv_transpose.fused_backward(grad_y, saved._replace(W=signs(saved.W)), needs)


BY_SIGNS: dict[Operation[Any], Operation[Any]] = {
    linear_function: operation(linear_forward, backward_linear),
    conv.conv_function: operation(conv.forward, backward_conv, fused_backward=fused_backward_conv),
    conv_transpose.conv_transpose_function: operation(
        conv_transpose.forward,
        backward_conv_transpose,
        fused_backward=fused_backward_conv_transpose,
    ),
}


class SignSymmetry:
    """The rule."""

    name = "sign_symmetry"

    def changed(self, program: Program) -> Changed:
        """Return the program with the signs of W in place of W on the way back."""
        entries: list[Entry] = list(program.entries)
        for place, call, _ in weighted_calls(program):
            changed = BY_SIGNS[call.operation]
            passes = changed.fused if call.passes == call.operation.fused else changed.formula
            entries[place] = replace(call, operation=changed, passes=passes)
        return Changed(program.with_entries(entries, program.boundary), {})
