"""Referee two: does the operation agree with its torch twin, forward and backward?"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bptrain.verify.comparison import Comparison, compare

OUTPUT = "output"


def outcomes(
    function: Callable[..., Tensor],
    tensors: Mapping[str, Tensor],
    wanted: list[str],
    upstream_seed: int,
) -> dict[str, Tensor]:
    """Return the output and the gradient of each wanted tensor, for a random upstream gradient."""
    leaves = {name: tensor.detach() for name, tensor in tensors.items()}
    for name in wanted:
        leaves[name] = leaves[name].requires_grad_()
    output = function(**leaves)
    generator = torch.Generator().manual_seed(upstream_seed)
    upstream = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(
        output, [leaves[name] for name in wanted], upstream.to(output.device, output.dtype)
    )
    return {OUTPUT: output.detach(), **dict(zip(wanted, gradients, strict=True))}


def parity(ours: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> list[Comparison]:
    """Return a comparison for the output and each gradient of two outcomes."""
    return [compare(name, ours[name], tensor) for name, tensor in reference.items()]
