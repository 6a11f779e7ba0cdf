"""Each sample's own part of the gradient: its exact norm, from what the backward pass has at hand.

Writing y' for dL/dy, whose rows are those of N samples with T rows each, sample n's part of W' is

    y = x W^T + b   W'_n = sum_t y'_nt^T x_nt    because W' is the sum of this over n
                    |W'_n|^2 = sum_ts (x_nt . x_ns) (y'_nt . y'_ns), for T = 1 |x_n|^2 |y'_n|^2
                    b'_n = sum_t y'_nt
    rnn, lstm, gru  the same of a_x = x W_ih^T + b_ih, a_h = h W_hh^T + b_hh and h = m W_hr^T, whose
                    gradients by time step the backward pass computes on its way (bptt.py)
    embedding       W'_n = the sum of y'_nt over the t of each token, rows of padding left out
    convolution and layer, group and RMS normalization: the operation's own backward pass of one
                    sample at a time, for the first 16 samples

Whichever is cheaper is computed of |W'_n|^2, the sum over pairs of rows or W'_n itself: that is at
most what W' costs, however many rows there are; and of so few samples at once that it takes little
memory. Embeddings cost one pass over y'.

The parts add up to the gradient of the mean loss, so N times a part is the gradient of the sample's
own loss. There are no such parts where batch normalization makes samples depend on each other, and
none of packed sequences, whose rows are in the order of their lengths.
Source     Goodfellow 2015, "Efficient per-example gradient computations"; the Gram form is derived
           here
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.ops.bptt_fused import ByStep
from bptrain.ops.conv import conv_function
from bptrain.ops.conv_transpose import conv_transpose_function
from bptrain.ops.embedding import embedding_function
from bptrain.ops.group_norm import group_norm_function
from bptrain.ops.layer_norm import layer_norm_function
from bptrain.ops.linear import linear_function
from bptrain.ops.operation import Operation, Passes
from bptrain.ops.rms_norm import rms_norm_function
from bptrain.ops.scan import Saved

MOST_SINGLY = 16  # samples whose backward passes are run one at a time
MOST_NUMBERS = 2**22  # that are held at once: 16 MiB
ONE_BY_ONE = (
    conv_function,
    conv_transpose_function,
    layer_norm_function,
    group_norm_function,
    rms_norm_function,
)
KNOWN = (linear_function, embedding_function, *ONE_BY_ONE)


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
        if not self._takes(inputs):
            return
        if grad_y is None:  # the loss does not read the output: the parts are 0
            return
        if operation not in KNOWN:
            self.reason = f"{operation.name} has no gradients of single samples"
        elif grad_y.dim() < 2 or len(grad_y) != self.samples or len(inputs[0]) != self.samples:
            self.reason = f"the rows of {operation.name} are not the samples of the batch"
        elif operation is linear_function:
            self._squares.append(_of_linear(inputs, grad_y))
        elif operation is embedding_function:
            self._squares.append(_of_embedding(inputs, grad_y))
        else:
            self._squares.append(_one_by_one(operation, passes, inputs, grad_y))

    def see_scan(self, inputs: Sequence[Any], by_step: ByStep, saved: Saved) -> None:
        """See the inputs of a recurrent layer's pass over time, and the gradients within it."""
        x, *weights = inputs[:6]  # states to start from follow: their own parts are not known
        if not self._takes(weights):
            return
        if x.dim() != 3 or x.shape[1] != self.samples:
            self.reason = "the rows of packed sequences are not the samples of the batch"
        else:
            self._squares.append(_of_scan(x, weights, by_step, saved))

    def _takes(self, inputs: Sequence[Any]) -> bool:
        """Return whether there are parameters among inputs, none of which was seen before."""
        own = {each for each in inputs if _is_trained(each)}
        if not own or self.reason:
            return False
        if not own <= self._left:
            self.reason = "a weight is used more than once"
            return False
        self._left -= own
        return True

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
    return _of_affine(W, b, _by_sample(x), _by_sample(grad_y))


def _of_affine(W: Tensor, b: Tensor | None, x: Tensor, grad_y: Tensor) -> Tensor:
    """Return |W'_n|^2 + |b'_n|^2 [N], of those that are trained, of x [N, T, I], y' [N, T, O]."""
    squares = grad_y.new_zeros(len(grad_y))
    if _is_trained(W):
        squares += _of_products(x, grad_y)
    if _is_trained(b):
        squares += grad_y.sum(1).square().sum(1)
    return squares


def _of_products(x: Tensor, grad_y: Tensor) -> Tensor:
    """Return |sum_t y'_t^T x_t|^2 [N] of x [N, T, I] and y' [N, T, O], the cheaper way."""
    rows, inputs, outputs = x.shape[1], x.shape[2], grad_y.shape[2]
    if rows == 1:
        return x.square().sum((1, 2)) * grad_y.square().sum((1, 2))
    by_pairs = rows * (inputs + outputs) < inputs * outputs
    at_once = max(1, MOST_NUMBERS // (2 * rows * rows if by_pairs else inputs * outputs))
    form = _by_pairs if by_pairs else _by_sum
    pieces = zip(x.split(at_once), grad_y.split(at_once), strict=True)
    return torch.cat([form(*piece) for piece in pieces])


def _by_pairs(x: Tensor, grad_y: Tensor) -> Tensor:
    return (x.bmm(x.mT) * grad_y.bmm(grad_y.mT)).sum((1, 2))


def _by_sum(x: Tensor, grad_y: Tensor) -> Tensor:
    return grad_y.mT.bmm(x).square().sum((1, 2))


def _of_scan(x: Tensor, weights: Sequence[Any], by_step: ByStep, saved: Saved) -> Tensor:
    """Return the squared norms [N] of the parts of W_ih, W_hh, b_ih, b_hh and W_hr."""
    W_ih, W_hh, b_ih, b_hh, W_hr = weights
    h_before = saved.scan.steps.before(saved.all_h)
    of_x, of_h, of_y = (_by_sequence(each, x) for each in by_step)
    squares = _of_affine(W_ih, b_ih, _by_sequence(x, x), of_x)
    squares += _of_affine(W_hh, b_hh, _by_sequence(h_before, x), of_h)
    if _is_trained(W_hr):
        assert saved.m is not None, "the gradient by W_hr reads it"
        squares += _of_products(_by_sequence(saved.m, x), of_y)
    return squares


def _of_embedding(inputs: Sequence[Any], grad_y: Tensor) -> Tensor:
    """Return |W'_n|^2 [N] of indices t [N, ...] and y' [N, ..., E]."""
    t, _, options = inputs
    rows, indices = _by_sample(grad_y), t.reshape(len(t), -1)
    if options.padding >= 0:
        rows = rows.masked_fill((indices == options.padding).unsqueeze(2), 0)
    in_order, order = indices.sort(1)  # equal tokens of a sample beside each other
    rows = rows.gather(1, order.unsqueeze(2).expand_as(rows)).flatten(0, 1)
    is_first = in_order.diff(dim=1, prepend=in_order[:, :1] - 1) != 0
    group = is_first.flatten().cumsum(0) - 1  # of equal tokens; as many as rows at most
    sums = torch.zeros_like(rows).index_add_(0, group, rows)
    squares: Tensor = (sums.square().sum(1)[group].view_as(is_first) * is_first).sum(1)
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
        squares.append(torch.stack([_wide(each).square().sum() for each in found]).sum())
    return torch.stack(squares)


def _by_sample(x: Tensor) -> Tensor:
    """Return the rows of each sample [N, T, ...] in float32 or wider."""
    return _wide(x.reshape(len(x), -1, x.shape[-1]))


def _by_sequence(rows: Tensor, x: Tensor) -> Tensor:
    """Return rows of a scan over x [T, N, I] by sequence [N, T, ...] in float32 or wider."""
    return _wide(rows.reshape(*x.shape[:2], -1).transpose(0, 1))


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
