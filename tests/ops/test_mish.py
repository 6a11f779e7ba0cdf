"""What is true of Mish beyond the table of cases."""

import torch

from bptrain.ops import mish


def test_it_is_not_monotonic_so_its_output_does_not_tell_its_slope() -> None:
    x = torch.tensor([-1.1925 - 1e-3, -1.1925 + 1e-3], requires_grad=True)
    mish(x).sum().backward()
    left, right = x.grad.tolist()
    assert left < 0 < right
