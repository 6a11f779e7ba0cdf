"""What rounding alone does to a gradient: where it is all that is left, nothing can be compared.

Degenerate normalizations and differences of nearly equal numbers amplify the rounding of float64
until two right ways to compute one gradient differ. The same happens when each value that goes in
is changed in its last place, which tells such a difference from an error.
"""

import torch

from bptrain.verify.named_tensors import Tensors

LAST_PLACE = 2.2e-16
AMPLIFIED = 100  # roundings inside, each as large as those of the values that go in
SEED = 11


def changed_in_the_last_place(tensors: Tensors, names: list[str]) -> Tensors:
    """Return the tensors with those of `names` rounded otherwise."""
    generator = torch.Generator().manual_seed(SEED)

    def changed(name: str) -> torch.Tensor:
        each = tensors[name].detach()
        drawn = torch.randn(each.shape, generator=generator, dtype=torch.float64)
        return each * (1 + LAST_PLACE * drawn.to(each.device, each.dtype))

    return {name: changed(name) if name in names else each for name, each in tensors.items()}


def is_rounding(ours: torch.Tensor, theirs: torch.Tensor, theirs_changed: torch.Tensor) -> bool:
    """Tell whether a difference is no larger than one in the last place of all inputs makes it."""
    change = (theirs - theirs_changed).abs().nan_to_num()
    if change.numel() == 0:
        return False
    return bool((ours - theirs).abs().max() <= AMPLIFIED * change.max())
