"""Numbers that tell how training goes, as tensors that stay on the device."""

import torch
from torch import Tensor, nn


class LayerGradients:
    """Gradient norms of a model: one for each layer, and the total.

    A layer is a module with parameters of its own; its norm is taken over all of them, as
    sqrt(|W'|^2 + |b'|^2).
    """

    def __init__(self, model: nn.Module) -> None:
        owners: list[tuple[str, list[nn.Parameter]]] = []
        left = {p for p in model.parameters() if p.requires_grad}
        for name, module in model.named_modules():
            # a weight that two layers share goes by the first, and counts once in the total
            own = [p for p in module.parameters(recurse=False) if p in left]
            left.difference_update(own)
            owners += [(name, own)] * bool(own)
        self.names = [name for name, _ in owners]
        self.parameters = [p for _, parameters in owners for p in parameters]
        layer_of = [i for i, (_, parameters) in enumerate(owners) for _ in parameters]
        self.layer_of = torch.tensor(layer_of, device=self.parameters[0].device)

    @property
    def tags(self) -> list[str]:
        """Tag of each value that `norms` returns."""
        return ["grad/total", *(f"grad/layer/{name}" for name in self.names)]

    def norms(self) -> Tensor:
        """Return the total and the layers' norms [1 + layers], float32."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        assert len(grads) == len(self.parameters), "norms are read after a backward pass"
        # float32: the square of a 16-bit gradient overflows at 256 or vanishes at 2e-4
        squares = torch.stack(torch._foreach_norm(grads, dtype=torch.float32)).square()
        by_layer = squares.new_zeros(len(self.names)).index_add_(0, self.layer_of, squares)
        return torch.cat([by_layer.sum().view(1), by_layer]).sqrt()
