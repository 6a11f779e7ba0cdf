"""Modules: they own the parameters, mirror torch.nn and compute with `bptrain.ops`.

Names, constructor arguments, defaults, parameter names, initialisation, repr and state_dict keys
are torch.nn's, so that state_dicts load both ways. An option that is not offered raises
NotImplementedError in the constructor, naming it.
"""

from bptrain.nn.attention import MultiheadAttention
from bptrain.nn.cross_entropy import CrossEntropyLoss
from bptrain.nn.ctc_loss import CTCLoss
from bptrain.nn.linear import Linear
from bptrain.nn.mse_loss import MSELoss
from bptrain.nn.relu import ReLU
from bptrain.nn.sigmoid import Sigmoid
from bptrain.nn.tanh import Tanh

__all__ = [
    "CTCLoss",
    "CrossEntropyLoss",
    "Linear",
    "MSELoss",
    "MultiheadAttention",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
