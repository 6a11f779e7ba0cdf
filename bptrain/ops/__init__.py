"""The mathematics: forward and backward of each operation, one file each.

Every file reads in the same order: the docstring derives the backward pass, `forward` and
`backward` are pure functions whose lines stand in the order and letters of that derivation, a
short `torch.autograd.Function` hands them to autograd, and the public function (its name,
arguments and order are torch.nn.functional's) comes last.

Letters
    N batch            T time steps        K classes
    C channels         I in-features       O out-features
    H, W               height and width    R, S  kernel height and width    D, Q  depth, its kernel
    G groups           E embedding size    A     attention heads            V     vocabulary

    x, y, W, b     input, output, weight, bias
    x', y', ...    the loss's gradient by x, by y, ...: in the code grad_x, grad_y, ...
    L              the loss, one number

The rule behind every file is the chain rule: the backward pass is handed y' = dL/dy and returns

    x'_i = sum_j y'_j dy_j/dx_i        for each tensor x that the forward pass read.

Second derivatives are not offered: differentiating a gradient raises a RuntimeError that says so.
"""

from bptrain.ops.cross_entropy import cross_entropy
from bptrain.ops.gru import gru, gru_cell
from bptrain.ops.linear import linear
from bptrain.ops.lstm import lstm, lstm_cell
from bptrain.ops.mse_loss import mse_loss
from bptrain.ops.relu import relu
from bptrain.ops.rnn import rnn_relu, rnn_relu_cell, rnn_tanh, rnn_tanh_cell
from bptrain.ops.sigmoid import sigmoid
from bptrain.ops.tanh import tanh

__all__ = [
    "cross_entropy",
    "gru",
    "gru_cell",
    "linear",
    "lstm",
    "lstm_cell",
    "mse_loss",
    "relu",
    "rnn_relu",
    "rnn_relu_cell",
    "rnn_tanh",
    "rnn_tanh_cell",
    "sigmoid",
    "tanh",
]
