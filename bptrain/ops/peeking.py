"""Whether an operation is traced, and may look at its numbers to save work."""

import torch
from torch import Tensor


def is_traced() -> bool:
    """Tell whether a graph of the operations is traced, now or for a compiler."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def may_peek(x: Tensor) -> bool:
    """Tell whether reading a number of x costs nothing and decides for this call alone.

    On a GPU the host would wait; in a graph that is traced, the answer would hold for every later
    call.
    """
    return x.device.type == "cpu" and not is_traced()
