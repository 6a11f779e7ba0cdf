"""The axis that an operation works along, checked once for those that take one."""

from torch import Tensor


def checked_axis(dim: int, input: Tensor) -> int:
    """Return `dim` counted from the front, or raise ValueError if input has no such axis.

    A scalar has axis 0, as in torch.
    """
    axes = max(input.dim(), 1)
    if not -axes <= dim < axes:
        raise ValueError(
            f"dim is {dim}, expected {-axes} to {axes - 1} for input of shape {list(input.shape)}"
        )
    return dim % axes
