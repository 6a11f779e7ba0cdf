"""Modules: they own the parameters, mirror torch.nn and compute with `bptrain.ops`.

Names, constructor arguments, defaults, parameter names, initialisation, repr and state_dict keys
are torch.nn's, so that state_dicts load both ways. An option that is not offered raises
NotImplementedError in the constructor, naming it.
"""

from bptrain.nn.cross_entropy import CrossEntropyLoss
from bptrain.nn.gru import GRU, GRUCell
from bptrain.nn.linear import Linear
from bptrain.nn.lstm import LSTM, LSTMCell
from bptrain.nn.mse_loss import MSELoss
from bptrain.nn.relu import ReLU
from bptrain.nn.rnn import RNN, RNNCell
from bptrain.nn.sigmoid import Sigmoid
from bptrain.nn.tanh import Tanh

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CrossEntropyLoss",
    "GRUCell",
    "LSTMCell",
    "Linear",
    "MSELoss",
    "RNNCell",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
