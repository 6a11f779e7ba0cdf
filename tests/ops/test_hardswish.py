"""What is true of hard swish beyond the table of cases."""

import torch

from bptrain.ops import hardswish


def test_it_turns_around_so_that_its_output_does_not_tell_its_slope() -> None:
    x = torch.tensor([-1.5 - 1e-3, -1.5 + 1e-3], requires_grad=True)
    hardswish(x).sum().backward()
    left, right = x.grad.tolist()
    assert left < 0 < right
