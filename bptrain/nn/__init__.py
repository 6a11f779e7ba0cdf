"""Modules: they own the parameters, mirror torch.nn and compute with `bptrain.ops`.

Names, constructor arguments, defaults, parameter names, initialization, repr and state_dict keys
are torch.nn's, so that state_dicts load both ways. An option that is not offered raises
NotImplementedError in the constructor, naming it. `__all__` lists the modules written out here;
the rest of torch.nn is torch's own, see from_torch.py.
"""

from bptrain.nn.adaptive_avg_pool import AdaptiveAvgPool1d, AdaptiveAvgPool2d
from bptrain.nn.add import Add
from bptrain.nn.alpha_dropout import AlphaDropout
from bptrain.nn.attention import DotProductAttention, MultiheadAttention
from bptrain.nn.avg_pool import AvgPool1d, AvgPool2d
from bptrain.nn.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from bptrain.nn.bilinear import Bilinear
from bptrain.nn.binary_cross_entropy import BCELoss
from bptrain.nn.binary_cross_entropy_with_logits import BCEWithLogitsLoss
from bptrain.nn.cat import Concat
from bptrain.nn.conv import Conv1d, Conv2d, Conv3d
from bptrain.nn.conv_transpose import ConvTranspose1d, ConvTranspose2d
from bptrain.nn.cosine_embedding_loss import CosineEmbeddingLoss
from bptrain.nn.cross_entropy import CrossEntropyLoss
from bptrain.nn.ctc_loss import CTCLoss
from bptrain.nn.derivations import with_derivations
from bptrain.nn.dropout import Dropout, Dropout1d, Dropout2d
from bptrain.nn.elu import CELU, ELU, SELU
from bptrain.nn.embedding import Embedding
from bptrain.nn.flatten import Flatten
from bptrain.nn.from_torch import *  # noqa: F403
from bptrain.nn.gaussian_nll_loss import GaussianNLLLoss
from bptrain.nn.gelu import GELU
from bptrain.nn.glu import GLU
from bptrain.nn.group_norm import GroupNorm
from bptrain.nn.gru import GRU, GRUCell
from bptrain.nn.hardsigmoid import Hardsigmoid
from bptrain.nn.hardswish import Hardswish
from bptrain.nn.hardtanh import Hardtanh, ReLU6
from bptrain.nn.hinge_embedding_loss import HingeEmbeddingLoss
from bptrain.nn.huber_loss import HuberLoss, SmoothL1Loss
from bptrain.nn.instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from bptrain.nn.kl_div import KLDivLoss
from bptrain.nn.l1_loss import L1Loss
from bptrain.nn.layer_norm import LayerNorm
from bptrain.nn.leaky_relu import LeakyReLU
from bptrain.nn.linear import Linear
from bptrain.nn.local_response_norm import LocalResponseNorm
from bptrain.nn.log_softmax import LogSoftmax
from bptrain.nn.logsigmoid import LogSigmoid
from bptrain.nn.lstm import LSTM, LSTMCell
from bptrain.nn.margin_ranking_loss import MarginRankingLoss
from bptrain.nn.max_pool import AdaptiveMaxPool2d, MaxPool1d, MaxPool2d
from bptrain.nn.mean import Mean
from bptrain.nn.mish import Mish
from bptrain.nn.mse_loss import MSELoss
from bptrain.nn.mul import Multiply
from bptrain.nn.nll_loss import NLLLoss
from bptrain.nn.pad import ZeroPad2d
from bptrain.nn.pixel_shuffle import PixelShuffle
from bptrain.nn.poisson_nll_loss import PoissonNLLLoss
from bptrain.nn.prelu import PReLU
from bptrain.nn.relu import ReLU
from bptrain.nn.rms_norm import RMSNorm
from bptrain.nn.rnn import RNN, RNNCell
from bptrain.nn.rotary import Rotary
from bptrain.nn.sigmoid import Sigmoid
from bptrain.nn.silu import SiLU
from bptrain.nn.softmax import Softmax
from bptrain.nn.softplus import Softplus
from bptrain.nn.softsign import Softsign
from bptrain.nn.tanh import Tanh
from bptrain.nn.triplet_margin_loss import TripletMarginLoss
from bptrain.nn.unflatten import Unflatten
from bptrain.nn.upsample import Upsample

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "Add",
    "AlphaDropout",
    "AvgPool1d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "CTCLoss",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "DotProductAttention",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GaussianNLLLoss",
    "GroupNorm",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "KLDivLoss",
    "L1Loss",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MarginRankingLoss",
    "MaxPool1d",
    "MaxPool2d",
    "Mean",
    "Mish",
    "MultiheadAttention",
    "Multiply",
    "NLLLoss",
    "PReLU",
    "PixelShuffle",
    "PoissonNLLLoss",
    "RMSNorm",
    "RNNCell",
    "ReLU",
    "ReLU6",
    "Rotary",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "TripletMarginLoss",
    "Unflatten",
    "Upsample",
    "ZeroPad2d",
]

with_derivations(globals()[name] for name in __all__)
