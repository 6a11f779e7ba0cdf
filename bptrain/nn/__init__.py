"""Modules: they own the parameters, mirror torch.nn and compute with `bptrain.ops`.

Names, constructor arguments, defaults, parameter names, initialisation, repr and state_dict keys
are torch.nn's, so that state_dicts load both ways. An option that is not offered raises
NotImplementedError in the constructor, naming it.
"""

from bptrain.nn.adaptive_avg_pool import AdaptiveAvgPool1d, AdaptiveAvgPool2d
from bptrain.nn.avg_pool import AvgPool1d, AvgPool2d
from bptrain.nn.cross_entropy import CrossEntropyLoss
from bptrain.nn.linear import Linear
from bptrain.nn.max_pool import AdaptiveMaxPool2d, MaxPool1d, MaxPool2d
from bptrain.nn.mse_loss import MSELoss
from bptrain.nn.relu import ReLU
from bptrain.nn.sigmoid import Sigmoid
from bptrain.nn.tanh import Tanh

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "CrossEntropyLoss",
    "Linear",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
