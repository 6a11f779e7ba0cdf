"""The rows [N, E] of a tensor [..., E]: its leading axes flattened."""

from torch import Tensor


def rows_of(x: Tensor) -> Tensor:
    """Return a view or copy of x [N, E]; N and E may be 0, where reshape(-1, E) cannot tell N."""
    return x if x.dim() == 2 else x.reshape(x.shape[:-1].numel(), x.shape[-1])
