"""Each sample's own part of the gradient: its exact norm, from what the backward pass has at hand.

Writing y' for dL/dy, whose rows are those of N samples with T rows each, sample n's part of W' is

    y = x W^T + b   W'_n = sum_t y'_nt^T x_nt    because W' is the sum of this over n
                    |W'_n|^2 = sum_ts (x_nt . x_ns) (y'_nt . y'_ns), for T = 1 |x_n|^2 |y'_n|^2
                    b'_n = sum_t y'_nt
    embedding       |W'_n|^2 = sum_ts [t_nt = t_ns] (y'_nt . y'_ns), rows of padding left out
    convolution and layer, group and RMS normalization: the operation's own backward pass of one
                    sample at a time, for the first 16 samples

The parts add up to the gradient of the mean loss, so N times a part is the gradient of the sample's
own loss. There are no such parts where batch normalization makes samples depend on each other.
Source     Goodfellow 2015, "Efficient per-example gradient computations"; the Gram form is derived
           here
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.ops.conv import conv_function
from bptrain.ops.conv_transpose import conv_transpose_function
from bptrain.ops.embedding import embedding_function
from bptrain.ops.group_norm import group_norm_function
from bptrain.ops.layer_norm import layer_norm_function
from bptrain.ops.linear import linear_function
from bptrain.ops.operation import Operation, Passes
from bptrain.ops.rms_norm import rms_norm_function

MOST_SINGLY = 16  # samples whose backward passes are run one at a time
ONE_BY_ONE = (
    conv_function,
    conv_transpose_function,
    layer_norm_function,
    group_norm_function,
    rms_norm_function,
)


class SampleGradients:
    """Gathers the squared norms of each sample's part of the gradient of one batch.

    samples  of the batch, whose axis is the first one everywhere
    reason   why there are none, "" if there are
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.samples = 0
        self.reason = ""
        self._left = set(parameters)
        self._squares: list[Tensor] = []

    def see(
        self,
        operation: Operation[Any],
        passes: Passes,
        inputs: Sequence[Any],
        grad_y: Tensor | None,
    ) -> None:
        """See an operation's inputs and the gradient by its output, in the backward pass."""
        own = {each for each in inputs if _is_trained(each)}
        if not own or self.reason:
            return
        if not own <= self._left:
            self.reason = "a weight is used more than once"
            return
        self._left -= own
        if operation not in (linear_function, embedding_function, *ONE_BY_ONE):
            self.reason = f"{operation.name} has no gradients of single samples"
        elif grad_y is None:  # the loss does not read the output: the parts are 0
            return
        elif grad_y.dim() < 2 or len(grad_y) != self.samples or len(inputs[0]) != self.samples:
            self.reason = f"the rows of {operation.name} are not the samples of the batch"
        elif operation is linear_function:
            self._squares.append(_of_linear(inputs, grad_y))
        elif operation is embedding_function:
            self._squares.append(_of_embedding(inputs, grad_y))
        else:
            self._squares.append(_one_by_one(operation, passes, inputs, grad_y))

    def norms(self) -> Tensor | None:
        """Return the norm of each sample's part [N], or of the first 16; None for a reason."""
        if self._left and not self.reason:
            self.reason = "a weight is read by what is no operation of bptrain, or cast"
        if self.reason or not self._squares:
            return None
        shown = min(map(len, self._squares))
        return sum((each[:shown] for each in self._squares[1:]), self._squares[0][:shown]).sqrt()


def _is_trained(each: object) -> bool:
    return isinstance(each, nn.Parameter) and each.requires_grad


def _of_linear(inputs: Sequence[Any], grad_y: Tensor) -> Tensor:
    """Return |W'_n|^2 + |b'_n|^2 [N] of x [N, ..., I] and y' [N, ..., O]."""
    x, W, b = inputs
    rows_x, rows_y = _by_sample(x), _by_sample(grad_y)
    squares = rows_y.new_zeros(len(rows_y))
    if W.requires_grad:
        squares += _gram(rows_x, rows_y)
    if b is not None and b.requires_grad:
        squares += rows_y.sum(1).square().sum(1)
    return squares


def _gram(x: Tensor, grad_y: Tensor) -> Tensor:
    """Return |sum_t y'_t^T x_t|^2 [N] of x [N, T, I] and y' [N, T, O], the cheaper way."""
    rows, inputs, outputs = x.shape[1], x.shape[2], grad_y.shape[2]
    if rows == 1:
        return x.square().sum((1, 2)) * grad_y.square().sum((1, 2))
    if rows * (inputs + outputs) < inputs * outputs:
        return (x.bmm(x.mT) * grad_y.bmm(grad_y.mT)).sum((1, 2))
    return grad_y.mT.bmm(x).square().sum((1, 2))


def _of_embedding(inputs: Sequence[Any], grad_y: Tensor) -> Tensor:
    """Return |W'_n|^2 [N] of indices t [N, ...] and y' [N, ..., E]."""
    t, _, options = inputs
    rows, indices = _by_sample(grad_y), t.reshape(len(t), -1)
    if options.padding >= 0:
        rows = rows.masked_fill((indices == options.padding).unsqueeze(2), 0)
    is_same = indices.unsqueeze(2) == indices.unsqueeze(1)
    squares: Tensor = (rows.bmm(rows.mT) * is_same).sum((1, 2))
    return squares


def _one_by_one(
    operation: Operation[Any], passes: Passes, inputs: Sequence[Any], grad_y: Tensor
) -> Tensor:
    """Return the squared norms for the first samples, by the operation's own backward pass."""
    x, *others = inputs
    needed = (False, *(_is_trained(each) for each in others))
    forward, backward = operation.bound(passes, needed)
    squares = []
    for n in range(min(len(x), MOST_SINGLY)):
        _, saved = forward(x[n : n + 1], *others)
        found = [each for each in backward(grad_y[n : n + 1], saved) if each is not None]
        squares.append(torch.stack([each.float().square().sum() for each in found]).sum())
    return torch.stack(squares)


def _by_sample(x: Tensor) -> Tensor:
    """Return the rows of each sample [N, T, ...] in float32."""
    return x.reshape(len(x), -1, x.shape[-1]).float()
