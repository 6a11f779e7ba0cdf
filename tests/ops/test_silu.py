"""What is true of SiLU beyond the table of cases."""

import torch

from bptrain.ops import silu


def test_it_is_not_monotonic_so_its_output_does_not_tell_its_slope() -> None:
    x = torch.tensor([-1.2785 - 1e-3, -1.2785 + 1e-3], requires_grad=True)
    silu(x).sum().backward()
    left, right = x.grad.tolist()
    assert left < 0 < right
