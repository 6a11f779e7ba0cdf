"""The layers that a config may name, by torch.nn's names, and their inferred arguments."""

import inspect

import torch

from bptrain import nn

LAYERS: dict[str, type[torch.nn.Module]] = {
    # affine
    "Linear": nn.Linear,
    "Embedding": nn.Embedding,
    "Conv1d": nn.Conv1d,
    "Conv2d": nn.Conv2d,
    "Conv3d": nn.Conv3d,
    "ConvTranspose1d": nn.ConvTranspose1d,
    "ConvTranspose2d": nn.ConvTranspose2d,
    # activations
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "PReLU": nn.PReLU,
    "ELU": nn.ELU,
    "SELU": nn.SELU,
    "CELU": nn.CELU,
    "GELU": nn.GELU,
    "GLU": nn.GLU,
    "SiLU": nn.SiLU,
    "Mish": nn.Mish,
    "Softplus": nn.Softplus,
    "Softsign": nn.Softsign,
    "Hardtanh": nn.Hardtanh,
    "ReLU6": nn.ReLU6,
    "Hardsigmoid": nn.Hardsigmoid,
    "Hardswish": nn.Hardswish,
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "LogSigmoid": nn.LogSigmoid,
    "Softmax": nn.Softmax,
    "LogSoftmax": nn.LogSoftmax,
    # normalization
    "BatchNorm1d": nn.BatchNorm1d,
    "BatchNorm2d": nn.BatchNorm2d,
    "BatchNorm3d": nn.BatchNorm3d,
    "InstanceNorm1d": nn.InstanceNorm1d,
    "InstanceNorm2d": nn.InstanceNorm2d,
    "InstanceNorm3d": nn.InstanceNorm3d,
    "GroupNorm": nn.GroupNorm,
    "LayerNorm": nn.LayerNorm,
    "RMSNorm": nn.RMSNorm,
    "LocalResponseNorm": nn.LocalResponseNorm,
    # dropout
    "Dropout": nn.Dropout,
    "Dropout1d": nn.Dropout1d,
    "Dropout2d": nn.Dropout2d,
    "AlphaDropout": nn.AlphaDropout,
    # size and shape
    "MaxPool1d": nn.MaxPool1d,
    "MaxPool2d": nn.MaxPool2d,
    "AvgPool1d": nn.AvgPool1d,
    "AvgPool2d": nn.AvgPool2d,
    "AdaptiveAvgPool1d": nn.AdaptiveAvgPool1d,
    "AdaptiveAvgPool2d": nn.AdaptiveAvgPool2d,
    "AdaptiveMaxPool2d": nn.AdaptiveMaxPool2d,
    "Upsample": nn.Upsample,
    "PixelShuffle": nn.PixelShuffle,
    "ZeroPad2d": nn.ZeroPad2d,
    "Flatten": nn.Flatten,
    "Unflatten": nn.Unflatten,
}

# arguments that may be omitted: each is the size of this axis of the layer's input [N, ...]
INFERRED = {
    "in_features": -1,
    "in_channels": 1,
    "num_features": 1,
    "num_channels": 1,
    "normalized_shape": -1,
}
VOCABULARY = "num_embeddings"  # may be omitted too: the size of the problem's vocabulary

# device and dtype are set by the experiment; in place, a layer of a residual block would change
# what the block adds
_NOT_FOR_CONFIGS = {"device", "dtype", "inplace"}

Arguments = dict[str, inspect.Parameter]


def arguments_of(name: str) -> Arguments:
    """Return the arguments of a layer that a config may give, by name and in order."""
    parameters = inspect.signature(LAYERS[name]).parameters
    return {
        name: each
        for name, each in parameters.items()
        if each.kind is each.POSITIONAL_OR_KEYWORD
        and not name.startswith("_")
        and name not in _NOT_FOR_CONFIGS
    }


def required(arguments: Arguments) -> list[str]:
    """Return the names of the required arguments."""
    return [
        name
        for name, each in arguments.items()
        if each.default is each.empty and name not in INFERRED and name != VOCABULARY
    ]


def takes_device(name: str) -> bool:
    """Return whether a layer's constructor takes a device."""
    return "device" in inspect.signature(LAYERS[name]).parameters
