"""Which gradients a watched loop looks at in a step, so that looking takes little of its time.

A norm of all gradients reads as many bytes as the model has weights, which is some percent of a
small network's step. It is taken in every tenth step. In each other step one gradient of a layer
is looked at, its smallest, if that is small: a bias's is the sum of the gradient by the layer's
output, and so not finite when that is not.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bptrain.tape.layer_gradients import LayerGradients

EVERY = 10  # steps
SMALL = 4096  # numbers of a gradient that take less time than the call that reads them


class GradientLooks:
    """Looks at the gradients of a step, at all of them or at the small ones.

    looks_at_all  in each step
    """

    def __init__(self, layers: LayerGradients, looks_at_all: bool) -> None:
        self.layers, self.looks_at_all = layers, looks_at_all
        self._small = smallest_of_layers(layers)

    def norms(self, step: int, is_due: bool) -> Tensor | None:
        """Return the norms of all gradients, None in a step that sees the small ones alone."""
        if is_due or self.looks_at_all or step % EVERY == 0 or not self._small:
            return self.layers.norms()
        return None

    def sum_of_small(self) -> Tensor:
        """Return a number that is finite if the small gradients are, still on the device."""
        gradients = [p.grad.flatten() for p in self._small if p.grad is not None]
        if not gradients:
            return torch.zeros((), device=self.layers.layer_of.device)
        return torch.cat(gradients).sum(dtype=torch.float32)


def smallest_of_layers(layers: LayerGradients) -> Sequence[nn.Parameter]:
    """Return the smallest parameter of each layer, without those that are large."""
    smallest: dict[int, nn.Parameter] = {}
    for layer, parameter in zip(layers.layers, layers.parameters, strict=True):
        if parameter.numel() <= SMALL:
            before = smallest.get(layer, parameter)
            smallest[layer] = min(before, parameter, key=nn.Parameter.numel)
    return [*smallest.values()]
