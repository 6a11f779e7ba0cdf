"""The gradient noise scale: the batch size beyond which larger batches make steps little better.

For samples' gradients g_n with mean G and covariance S, a batch of B has the gradient G_B, and

    E |g_n|^2 = |G|^2 + tr S       because the parts of a sum of variances add
    E |G_B|^2 = |G|^2 + tr S / B   because a mean of B has a B-th of the variance
    tr S      = (mean |g_n|^2 - |G_B|^2) B / (B - 1)
    |G|^2     = |G_B|^2 - tr S / B
    noise scale = tr S / |G|^2

Both are noisy, and a ratio of noisy numbers is biased: each is averaged over the observed steps
first.
Source: McCandlish et al. 2018, "An empirical model of large-batch training", appendix A.1
"""

from math import isfinite, log2

import torch
from torch import Tensor

DECAY = 0.9  # of the averages, an observed step


def moments(norms: Tensor, total: Tensor, samples: int) -> Tensor:
    """Return tr S and |G|^2 [2], estimated from one batch of at least two samples.

    norms    of the samples' own gradients; those of some of them
    total    norm of the gradient of the batch
    samples  B
    """
    trace = (norms.square().mean() - total.square()) * (samples / (samples - 1))
    return torch.stack([trace, total.square() - trace / samples])


def averaged(before: Tensor | None, now: Tensor) -> Tensor:
    """Return the moving average [2], which begins with the first value."""
    return now if before is None else torch.lerp(before, now, 1 - DECAY)


def noise_scale(moments: Tensor) -> Tensor:
    """Return tr S / |G|^2, NaN where the gradient cannot be told from its noise yet."""
    trace, square = moments.unbind()
    return torch.where(square > 0, trace / square, torch.nan)


def advice(scale: float, batch_size: int) -> str:
    """Return a sentence about the batch size, given the noise scale at the end of a run."""
    if not isfinite(scale):
        return "the gradient noise scale is not known: the noise is larger than the gradient"
    suggested = 2 ** max(0, round(log2(scale))) if scale > 0 else 1
    said = f"the gradient noise scale is {scale:,.3g} samples"
    if suggested > 2 * batch_size:
        return f"{said}: larger batches would give better steps, up to data.batch_size={suggested}"
    if suggested < batch_size / 2:
        return f"{said}: smaller batches would need fewer samples, data.batch_size={suggested}"
    return f"{said}: data.batch_size={batch_size} fits it"
