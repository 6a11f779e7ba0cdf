"""How far a tensor is from its reference, and where the most."""

from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Comparison:
    """The worst element of a tensor against its reference; index None is all of it at once."""

    tensor: str
    index: tuple[int, ...] | None
    ours: float
    reference: float
    relative_error: float


def compare(tensor: str, ours: Tensor, reference: Tensor, smallest: float = SMALLEST) -> Comparison:
    """Return the worst element, its error relative to the reference's largest magnitude.

    The largest magnitude and not the element's own: an element that is zero by cancellation has
    no relative error of its own, while a wrong one still stands out. Equal infinities and NaNs
    at the same place agree; a NaN in one alone is an infinite error.

    smallest   the magnitude that errors are relative to at least: of a gradient that cancels to 0
               nothing is left but noise, another one in each order of summation
    """
    if ours.shape != reference.shape:
        raise ValueError(f"{tensor}: shape {list(ours.shape)}, reference {list(reference.shape)}")
    if ours.numel() == 0:
        return Comparison(tensor, (), 0.0, 0.0, 0.0)
    a, b = ours.detach().double().cpu(), reference.detach().double().cpu()
    agree = (a == b) | (a.isnan() & b.isnan())
    finite = b[b.isfinite()].abs()
    scale = finite.max().clamp_min(smallest) if finite.numel() else 1.0
    error = torch.where(agree, 0.0, (a - b).abs() / scale).nan_to_num(
        nan=torch.inf, posinf=torch.inf
    )
    worst = int(error.argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), a.shape))
    return Comparison(tensor, index, a[index].item(), b[index].item(), error[index].item())
