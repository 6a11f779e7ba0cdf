"""Gradient clipping, in up to three ways.

value     each element of a gradient into [-value, value]
adaptive  each layer's gradient G to a norm of at most lambda max(|W|, 1e-3)
norm      all gradients together to a total norm of at most `norm`

They are applied in this order: elements, layers, the whole model. None undoes another, because
the last two only scale down.

Source: value and norm as in torch.nn.utils, its 1e-6 included. Adaptive: Brock et al. 2021,
arXiv:2102.06171, equation 3 (equation 2 is the total norm's). The paper takes the norm of
each row of a weight matrix and leaves the last layer out; here the norm is a layer's, W and b
together, and every layer is clipped.

A gradient that is not finite is handled as in torch: scaling by the norm turns its infinite
elements into NaN and all others into 0, or into NaN if the norm is NaN; clipping by value turns
an infinity into `value`, and a NaN stays. To avoid waiting for the device, nothing is checked
here: the norms before clipping are recorded for every step, and show the layer it came from.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bptrain.tape.layer_gradients import LayerGradients

SMALLEST_WEIGHT_NORM = 1e-3  # with a smaller bound, a layer initialized to 0 would stay at 0


@dataclass(frozen=True)
class Clipping:
    """The bounds of the gradients; None for one that is not set.

    norm      greatest total norm
    value     greatest magnitude of an element
    adaptive  greatest ratio of a layer's gradient norm to its weight norm, lambda in the paper
    """

    norm: float | None = None
    value: float | None = None
    adaptive: float | None = None

    @torch.no_grad()
    def clip(self, gradients: LayerGradients, norms: Tensor) -> Tensor:
        """Clip the gradients in place and return their norms afterwards [1 + layers].

        norms  `gradients.norms()` of this step [1 + layers], from before clipping
        """
        if self.value is not None:
            norms = _clip_elements(gradients, self.value)
        if self.adaptive is not None:
            norms = _clip_layers(gradients, norms, self.adaptive)
        return norms if self.norm is None else _clip_total(gradients, norms, self.norm)


def _clip_elements(gradients: LayerGradients, bound: float) -> Tensor:
    """Clamp each element, and return the norms afterwards [1 + layers]."""
    grads = [p.grad for p in gradients.parameters if p.grad is not None]
    if grads:
        torch._foreach_clamp_min_(grads, -bound)
        torch._foreach_clamp_max_(grads, bound)
    return gradients.norms()


def _clip_layers(gradients: LayerGradients, norms: Tensor, ratio: float) -> Tensor:
    """Scale each layer by its own factor, and return the norms afterwards [1 + layers]."""
    bounds = ratio * gradients.weight_norms().clamp(min=SMALLEST_WEIGHT_NORM)
    factors = (bounds / norms[1:]).clamp(max=1.0)  # bound / 0 is infinite: a factor of 1
    of_layer = factors.unbind()
    pairs = zip(gradients.parameters, gradients.layers, strict=True)
    scaled = [(p.grad, of_layer[layer]) for p, layer in pairs if p.grad is not None]
    if scaled:
        torch._foreach_mul_([grad for grad, _ in scaled], [factor for _, factor in scaled])
    by_layer = norms[1:] * factors
    return torch.cat([by_layer.norm().view(1), by_layer])


def _clip_total(gradients: LayerGradients, norms: Tensor, bound: float) -> Tensor:
    """Scale all gradients by one factor, and return the norms afterwards [1 + layers]."""
    factor = (bound / (norms[0] + 1e-6)).clamp(max=1.0)
    grads = [p.grad for p in gradients.parameters if p.grad is not None]
    if grads:
        torch._foreach_mul_(grads, factor)
    return norms * factor
