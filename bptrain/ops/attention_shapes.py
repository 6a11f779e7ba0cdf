"""Which shapes of query, key, value and mask go together in `attention`, and what errors say."""

import torch
from torch import Tensor


def checked_leading(query: Tensor, key: Tensor, value: Tensor, shares: bool) -> list[int]:
    """Return the axes before [T, E] of the result, or raise ValueError."""
    shapes = [list(x.shape) for x in (query, key, value)]
    said = f"query, key and value have shapes {shapes[0]}, {shapes[1]} and {shapes[2]}"
    if min(len(shape) for shape in shapes) < 2 + shares:
        raise ValueError(f"{said}: expected at least [{'A, ' * shares}T, E]")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(f"{said}: expected [..., T, E], [..., J, E] and [..., J, F]")
    if len({x.dtype for x in (query, key, value)}) > 1 and not torch.is_autocast_enabled(
        query.device.type
    ):
        raise ValueError(
            f"query, key and value have dtypes {query.dtype}, {key.dtype} and {value.dtype}: "
            "expected the same"
        )
    if not query.is_floating_point():
        raise ValueError(f"query has dtype {query.dtype}, expected one of floating point")
    leading = [shape[:-2] for shape in shapes]
    if shares:
        heads, key_heads, value_heads = (shape[-1] for shape in leading)
        if key_heads != value_heads or heads % max(key_heads, 1):
            raise ValueError(f"{said}: expected heads of key and value that divide query's heads")
        leading = [shape[:-1] for shape in leading]
    try:
        joint = list(torch.broadcast_shapes(*leading))
    except RuntimeError as error:
        raise ValueError(f"{said}: their leading axes do not broadcast") from error
    return [*joint, query.shape[-3]] if shares else joint


def four_axes(x: Tensor, leading: list[int], shares: bool) -> Tensor:
    """Return a view of x [..., T, E] with all leading axes, and one more in front of one or none.

    A lone sequence thus has three axes and is computed in plain steps: for it torch's own function
    leaves out the kernel too, whose quicker e^x errs by some units more.
    """
    own = [x.shape[-3]] if shares else leading[-1:]
    x = x.expand(*leading[:-1], *own, *x.shape[-2:])
    return x.unsqueeze(0) if x.dim() < 4 else x


def check_mask(mask: Tensor, query: Tensor, scores: list[int]) -> None:
    """Raise ValueError unless the mask can be added to scores of this shape."""
    if mask.dtype not in (torch.bool, torch.float32, query.dtype):
        raise ValueError(
            f"attn_mask has dtype {mask.dtype}, expected torch.bool, torch.float32 or query's "
            f"dtype, {query.dtype}"
        )
    axes = zip(reversed(mask.shape), reversed(scores), strict=False)
    if not 1 <= mask.dim() <= len(scores) or any(size not in (1, full) for size, full in axes):
        raise ValueError(
            f"attn_mask has shape {list(mask.shape)}, expected one that broadcasts to {scores}"
        )
