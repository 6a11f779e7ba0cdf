"""Modules: they own the parameters, mirror torch.nn and compute with `bptrain.ops`.

Names, constructor arguments, defaults, parameter names, initialisation, repr and state_dict keys
are torch.nn's, so that state_dicts load both ways. An option that is not offered raises
NotImplementedError in the constructor, naming it.
"""

from bptrain.nn.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from bptrain.nn.cross_entropy import CrossEntropyLoss
from bptrain.nn.group_norm import GroupNorm
from bptrain.nn.instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from bptrain.nn.layer_norm import LayerNorm
from bptrain.nn.linear import Linear
from bptrain.nn.local_response_norm import LocalResponseNorm
from bptrain.nn.mse_loss import MSELoss
from bptrain.nn.relu import ReLU
from bptrain.nn.rms_norm import RMSNorm
from bptrain.nn.sigmoid import Sigmoid
from bptrain.nn.tanh import Tanh

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "CrossEntropyLoss",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "Linear",
    "LocalResponseNorm",
    "MSELoss",
    "RMSNorm",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
