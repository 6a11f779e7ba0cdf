"""Referee one: does the backward pass agree with what the forward pass does?

The loss is L = sum_i u_i y_i with random u, so that every output pulls at once and in its own
strength: with u = 1 a wrong softmax hides, as its outputs sum to 1 whatever the logits are.
Each element x is moved a little both ways, and (L(x + h) - L(x - h)) / 2h is compared with x'.
The truncation error is h^2 L'''/6 and the rounding error about 1e-16 |L| / h: h = 6e-6 |x|, the
cube root of 1e-16, makes both about 1e-10.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bptrain.verify.comparison import Comparison, compare

STEP = 6e-6
TOLERANCE = 1e-7  # a hundred times the error above; a missing term errs by 1e-2 or more


def numeric_gradient(loss: Callable[[], Tensor], tensor: Tensor) -> Tensor:
    """Return the central finite differences of `loss` by each element of `tensor`.

    `tensor` is float64 and contiguous; it is changed in place and restored.
    """
    gradient = torch.empty_like(tensor)
    flat, flat_gradient = tensor.detach().view(-1), gradient.view(-1)
    for i in range(flat.numel()):
        x = flat[i].item()
        h = STEP * max(1.0, abs(x))
        flat[i] = x + h
        above = loss().item()
        flat[i] = x - h
        below = loss().item()
        flat[i] = x
        flat_gradient[i] = (above - below) / (2 * h)
    return gradient


def gradcheck(
    function: Callable[..., Tensor],
    tensors: Mapping[str, Tensor],
    wanted: list[str],
    generator: torch.Generator,
) -> list[Comparison]:
    """Return a comparison for each wanted tensor's gradient with finite differences.

    function   called with the tensors by their names, in float64
    """
    # own memory for each element: an expanded input cannot be moved one element at a time
    leaves = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    for name in wanted:
        leaves[name].requires_grad_()
    outputs = function(**leaves)
    drawn = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
    upstream = drawn.to(outputs.device)
    outputs.backward(upstream)

    def loss() -> Tensor:
        with torch.no_grad():
            return (function(**leaves) * upstream).sum()

    comparisons = []
    for name in wanted:
        ours = leaves[name].grad
        assert ours is not None, f"no gradient reached {name}"
        comparisons.append(compare(name, ours, numeric_gradient(loss, leaves[name])))
    return comparisons
