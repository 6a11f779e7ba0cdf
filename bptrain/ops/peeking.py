"""Whether an operation may look at its numbers to save work, and whether it is traced."""

import torch
from torch import Tensor


def may_peek(x: Tensor) -> bool:
    """Tell whether reading a number of x costs nothing and decides for this call alone.

    On a GPU the host would wait; in a graph that is traced, now or for a compiler, the answer would
    hold for every later call.
    """
    is_recorded = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
    return x.device.type == "cpu" and not is_recorded


def is_traced() -> bool:
    """Tell whether the compiler makes a graph of the operations."""
    if torch.compiler.is_compiling():
        return True
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
