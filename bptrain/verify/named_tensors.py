"""Tensors by name: the arguments and outputs of a call, parameters and buffers among them."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

PARAMETER = "self."  # begins the names of a module's own parameters
RANDOM_SEED = 7  # of what an operation draws itself, such as dropout's mask

Tensors = dict[str, Tensor]


def reseed(device: torch.device) -> None:
    """Start the global generator that layers on `device` draw from at the same place.

    Not torch.manual_seed: without a GPU in use that queues a call for each device, with a stack
    trace, and takes half the time of a small layer's pass.
    """
    torch.default_generator.manual_seed(RANDOM_SEED)
    if device.type == "cuda":
        torch.cuda.manual_seed(RANDOM_SEED)


def named(name: str, output: object) -> Tensors:
    """Return each tensor of nested outputs under a name that tells where it stands."""
    if isinstance(output, Tensor):
        return {name: output}
    if isinstance(output, PackedSequence):
        return {f"{name}.data": output.data}
    if isinstance(output, Mapping):
        parts = list(output.items())
    elif isinstance(output, tuple | list):
        parts = list(enumerate(output))
    else:
        return {}  # None, where an output is not asked for
    found: Tensors = {}
    for key, part in parts:
        found |= named(f"{name}.{key}", part)
    return found
