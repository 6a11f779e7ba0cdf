"""The gradients of a model, grouped by layer: what is logged, clipped and diagnosed at every step.

A layer is a module with parameters of its own, its W and b together. A weight that two layers
share goes by the first, and counts once in the total.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LayerGradients:
    """Gradient and weight norms of a model: one for each layer, and the total of the gradients.

    names       of the layers
    parameters  those that are trained, layer by layer
    layers      the layer of each parameter, as an index into `names`
    layer_of    the same on the device
    """

    def __init__(self, model: nn.Module) -> None:
        owners: list[tuple[str, list[nn.Parameter]]] = []
        left = {p for p in model.parameters() if p.requires_grad}
        for name, module in model.named_modules():
            own = [p for p in module.parameters(recurse=False) if p in left]
            left.difference_update(own)
            owners += [(name, own)] * bool(own)
        self.names = [name for name, _ in owners]
        self.parameters = [p for _, parameters in owners for p in parameters]
        self.layers = [i for i, (_, parameters) in enumerate(owners) for _ in parameters]
        device = self.parameters[0].device
        self.layer_of = torch.tensor(self.layers, device=device)
        self._zero = torch.zeros((), device=device)

    @property
    def tags(self) -> list[str]:
        """Tag of each value that `norms` returns."""
        return ["grad/total", *(f"grad/layer/{name}" for name in self.names)]

    def norms(self) -> Tensor:
        """Return the total and the layers' norms [1 + layers], float32, still on the device.

        A parameter that the step did not use has no gradient and counts as 0.
        """
        grads = [p.grad for p in self.parameters if p.grad is not None]
        found = iter(_norms(grads))
        every = [self._zero if p.grad is None else next(found) for p in self.parameters]
        squares = self._by_layer(every)
        return torch.cat([squares.sum().view(1), squares]).sqrt()

    def weight_norms(self) -> Tensor:
        """Return the norm of each layer's parameters [layers], float32, still on the device."""
        return self._by_layer(_norms([p.detach() for p in self.parameters])).sqrt()

    def _by_layer(self, norms: Sequence[Tensor]) -> Tensor:
        """Return the sum of squares of each layer's norms [layers]."""
        squares = torch.stack(list(norms)).square()
        return squares.new_zeros(len(self.names)).index_add_(0, self.layer_of, squares)


def _norms(tensors: list[Tensor]) -> Sequence[Tensor]:
    """Return the norm of each tensor, a scalar."""
    # float32: the square of a 16-bit number overflows at 256 or vanishes at 2e-4
    return torch._foreach_norm(tensors, dtype=torch.float32) if tensors else ()
