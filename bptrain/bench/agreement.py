"""Before anything is timed: do both sides compute the same?"""

import torch
from torch import Tensor

from bptrain.bench.subject import Alternative
from bptrain.errors import GradientError, NonFiniteError

# largest norm of a difference over the norm of the reference. In float32 rounding leaves 1e-6 to
# 1e-5, over hundreds of time steps 1e-4; bfloat16 has 8 bits of digits
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 6e-2}
# a gradient that is 0 but for rounding, as a bias's before batch normalization, is compared with
# this part of the norm of all gradients
NEGLIGIBLE = 1e-3
LOSS, OUTPUTS = "loss", "outputs"
NOT_GRADS = (LOSS, OUTPUTS)


def refuse_different(reference: Alternative, other: Alternative, dtype: torch.dtype) -> float:
    """Return the largest relative difference of outputs, loss and gradients.

    Raises GradientError beyond the tolerance, and NonFiniteError if the reference is not finite.
    """
    expected, found = _computed(reference), _computed(other)
    whole = torch.stack([each.norm() for name, each in expected.items() if name not in NOT_GRADS])
    if not bool(whole.isfinite().all() and expected[LOSS].isfinite()):
        raise NonFiniteError(
            f"the loss or a gradient of {reference.name} is NaN or infinite at the first step"
        )
    worst = 0.0
    for name, right in expected.items():
        if name not in found:
            raise GradientError(f"{other.name} has no {name}, {reference.name} has one")
        least = 0.0 if name in NOT_GRADS else NEGLIGIBLE * float(whole.norm())
        size = max(float(right.norm()), least) or 1.0
        difference = float((found[name] - right).norm()) / size
        worst = max(worst, difference)
        if not difference <= TOLERANCES[dtype]:
            raise GradientError(
                f"{other.name} and {reference.name} differ in {name}: {difference:.1e} of its norm",
                "times of different results cannot be compared",
                "`bptrain check` names the layer",
            )
    return worst


def _computed(side: Alternative) -> dict[str, Tensor]:
    """Return outputs, loss and gradients in float64, all from the same random numbers."""
    torch.manual_seed(0)
    loss = side.backpropagate()
    gradients = {f"the gradient of {name}": each for name, each in side.gradients().items()}
    with torch.no_grad():
        outputs = side.model(*side.inputs)
    side.clear()
    return {
        name: each.detach().double()
        for name, each in {LOSS: loss, OUTPUTS: outputs, **gradients}.items()
    }
