"""The mathematics: forward and backward of each operation, one file each.

Every file reads in the same order: the docstring derives the backward pass, `forward` and
`backward` are pure functions whose lines stand in the order and letters of that derivation,
`fused_forward` and `fused_backward` are a library's kernels of the same, `operation` makes a
differentiable function of them, and the public function (its name, arguments and order are
torch.nn.functional's) comes last. `operation.py` says what these functions take and return,
`kernels.py` chooses between formula and kernel, `precision.py` has autocast's dtypes.

Letters
    N batch            T time steps        K classes
    C channels         I in-features       O out-features
    H, W               height and width    R, S  kernel height and width    D, Q  depth, its kernel
    G groups           E embedding size    A     attention heads            V     vocabulary

    x, y, W, b     input, output, weight, bias
    x', y', ...    the loss's gradient by x, by y, ...: in the code grad_x, grad_y, ...
    L              the loss, one number

The rule behind every file is the chain rule: the backward pass is given y' = dL/dy and returns

    x'_i = sum_j y'_j dy_j/dx_i        for each tensor x that the forward pass read.

Second derivatives (create_graph=True) and torch.func's transforms differentiate and batch these
same lines: second_derivatives.py. Where that would lack a part, they raise NotImplementedError.
"""

from bptrain.ops.adaptive_avg_pool import adaptive_avg_pool1d, adaptive_avg_pool2d
from bptrain.ops.add import add
from bptrain.ops.alpha_dropout import alpha_dropout
from bptrain.ops.attention import scaled_dot_product_attention
from bptrain.ops.avg_pool import avg_pool1d, avg_pool2d
from bptrain.ops.batch_norm import batch_norm
from bptrain.ops.batch_norm_relu import batch_norm_relu
from bptrain.ops.bilinear import bilinear
from bptrain.ops.binary_cross_entropy import binary_cross_entropy
from bptrain.ops.binary_cross_entropy_with_logits import binary_cross_entropy_with_logits
from bptrain.ops.cat import cat
from bptrain.ops.conv import conv1d, conv2d, conv3d
from bptrain.ops.conv_relu import conv2d_relu
from bptrain.ops.conv_transpose import conv_transpose1d, conv_transpose2d
from bptrain.ops.cosine_embedding_loss import cosine_embedding_loss
from bptrain.ops.cross_entropy import cross_entropy
from bptrain.ops.ctc_loss import ctc_loss
from bptrain.ops.dropout import dropout, dropout1d, dropout2d
from bptrain.ops.elu import celu, elu, selu
from bptrain.ops.embedding import embedding
from bptrain.ops.flatten import flatten
from bptrain.ops.gaussian_nll_loss import gaussian_nll_loss
from bptrain.ops.gelu import gelu
from bptrain.ops.glu import glu
from bptrain.ops.group_norm import group_norm
from bptrain.ops.gru import gru, gru_cell
from bptrain.ops.hardsigmoid import hardsigmoid
from bptrain.ops.hardswish import hardswish
from bptrain.ops.hardtanh import hardtanh, relu6
from bptrain.ops.hinge_embedding_loss import hinge_embedding_loss
from bptrain.ops.huber_loss import huber_loss, smooth_l1_loss
from bptrain.ops.instance_norm import instance_norm
from bptrain.ops.kl_div import kl_div
from bptrain.ops.l1_loss import l1_loss
from bptrain.ops.layer_norm import layer_norm
from bptrain.ops.leaky_relu import leaky_relu
from bptrain.ops.linear import linear
from bptrain.ops.linear_cross_entropy import linear_cross_entropy
from bptrain.ops.linear_relu import linear_relu
from bptrain.ops.local_response_norm import local_response_norm
from bptrain.ops.log_softmax import log_softmax
from bptrain.ops.logsigmoid import logsigmoid
from bptrain.ops.lstm import lstm, lstm_cell
from bptrain.ops.margin_ranking_loss import margin_ranking_loss
from bptrain.ops.max_pool import adaptive_max_pool2d, max_pool1d, max_pool2d
from bptrain.ops.mean import mean
from bptrain.ops.mish import mish
from bptrain.ops.mse_loss import mse_loss
from bptrain.ops.mul import mul
from bptrain.ops.nll_loss import nll_loss
from bptrain.ops.pad import pad
from bptrain.ops.pixel_shuffle import pixel_shuffle
from bptrain.ops.poisson_nll_loss import poisson_nll_loss
from bptrain.ops.prelu import prelu
from bptrain.ops.relu import relu
from bptrain.ops.relu_dropout import relu_dropout
from bptrain.ops.relu_max_pool import relu_max_pool2d
from bptrain.ops.rms_norm import rms_norm
from bptrain.ops.rnn import rnn_relu, rnn_relu_cell, rnn_tanh, rnn_tanh_cell
from bptrain.ops.rotary import rotary
from bptrain.ops.sigmoid import sigmoid
from bptrain.ops.silu import silu
from bptrain.ops.softmax import softmax
from bptrain.ops.softplus import softplus
from bptrain.ops.softsign import softsign
from bptrain.ops.tanh import tanh
from bptrain.ops.triplet_margin_loss import triplet_margin_loss
from bptrain.ops.upsample import interpolate

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "add",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_relu",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cat",
    "celu",
    "conv1d",
    "conv2d",
    "conv2d_relu",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "elu",
    "embedding",
    "flatten",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "group_norm",
    "gru",
    "gru_cell",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hinge_embedding_loss",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "linear_cross_entropy",
    "linear_relu",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "lstm",
    "lstm_cell",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool2d",
    "mean",
    "mish",
    "mse_loss",
    "mul",
    "nll_loss",
    "pad",
    "pixel_shuffle",
    "poisson_nll_loss",
    "prelu",
    "relu",
    "relu6",
    "relu_dropout",
    "relu_max_pool2d",
    "rms_norm",
    "rnn_relu",
    "rnn_relu_cell",
    "rnn_tanh",
    "rnn_tanh_cell",
    "rotary",
    "scaled_dot_product_attention",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
    "triplet_margin_loss",
]
