"""The gradients of a model, grouped by layer for logging, clipping and the search for NaN.

A layer is a module with parameters of its own, its W and b together. A weight that two layers
share belongs to the first, and counts once in the total.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bptrain import tags


class LayerGradients:
    """Gradient and weight norms of a model: one for each layer, and the total of the gradients.

    names       of the layers; the model's own parameters are under the name of its class
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
            owners += [(name or type(model).__name__, own)] * bool(own)
        self.names = [name for name, _ in owners]
        self.parameters = [p for _, parameters in owners for p in parameters]
        self.layers = [i for i, (_, parameters) in enumerate(owners) for _ in parameters]
        device = self.parameters[0].device
        self.layer_of = torch.tensor(self.layers, device=device)

    @property
    def tags(self) -> list[str]:
        """Tag of each value that `norms` returns."""
        return [tags.GRAD_TOTAL, *map(tags.layer_gradient, self.names)]

    @property
    def clipped_tags(self) -> list[str]:
        """Tag of each norm after clipping."""
        return [tags.GRAD_TOTAL_CLIPPED, *map(tags.layer_gradient_clipped, self.names)]

    def norms(self) -> Tensor:
        """Return the total and the layers' norms [1 + layers], float32, still on the device.

        A parameter that the step did not use has no gradient and counts as 0.
        """
        squares = self._by_layer([p.grad for p in self.parameters])
        return torch.cat([squares.sum(0, keepdim=True), squares]).sqrt_()

    def weight_norms(self) -> Tensor:
        """Return the norm of each layer's parameters [layers], float32, still on the device."""
        return self.norms_of([p.detach() for p in self.parameters])

    def norms_of(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return each layer's norm [layers] of tensors, one for each parameter, on the device."""
        return self._by_layer(tensors).sqrt_()

    def _by_layer(self, tensors: Sequence[Tensor | None]) -> Tensor:
        """Return the sum of squares of each layer's tensors [layers], of which some may be None.

        Each operation costs more than what it computes where layers are small: these are few.
        """
        there = [each for each in tensors if each is not None]
        layer_of = self.layer_of
        if len(there) < len(tensors):
            layer_of = layer_of[[n for n, each in enumerate(tensors) if each is not None]]
        sums = torch.zeros(len(self.names), device=layer_of.device)
        if not there:
            return sums
        # float32: the square of a 16-bit number overflows at 256 or vanishes at 2e-4
        norms = torch._foreach_norm(there, dtype=torch.float32)
        return sums.index_add_(0, layer_of, torch.stack(list(norms)).square_())
