"""Starting weights by name, each chosen so that the signal neither fades nor grows with depth."""

from typing import Literal

from torch import nn

Activation = Literal["relu", "tanh", "sigmoid"]
Initialization = Literal["default", "kaiming", "xavier"]


def initialize(model: nn.Module, scheme: Initialization, activation: Activation) -> None:
    """Draw the weights of every linear layer anew; 'default' leaves torch.nn's own draw.

    kaiming   N(0, 2 / fan_in) for relu, the gain of the activation otherwise: He et al. 2015
    xavier    U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)): Glorot and Bengio 2010, equation 16
    Biases start at zero under both.
    """
    if scheme == "default":
        return
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            if scheme == "kaiming":
                nn.init.kaiming_normal_(layer.weight, nonlinearity=activation)
            else:
                nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain(activation))
            nn.init.zeros_(layer.bias)
