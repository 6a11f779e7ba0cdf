"""Before anything is timed: do both sides compute the same?

Two right float32 gradients differ by rounding: by 1e-6 of their norm in a small network, by 1e-2 in
a deep one with batch normalization, where a ReLU's input near 0 has one sign here and the other
there. So where a difference is larger than expected, both sides compute it again in float64, in
which a right one vanishes.
"""

from collections.abc import Callable, Mapping
from math import inf, isnan

import torch
from torch import Tensor

from bptrain.bench.subject import Alternative
from bptrain.errors import GradientError, NonFiniteError

# largest norm of a difference over the norm of the reference; bfloat16 has 8 bits of digits
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 6e-2}
IN_FLOAT64 = 1e-6
# a larger difference that is rounding, as float64 shows: at most this, or that many times
# torch.nn's own error, which in bfloat16 may be half of a deep network's gradient
ROUNDING, OF_TORCHS_ERROR = 0.1, 4.0
# a gradient that is 0 but for rounding, as a bias's before batch normalization, is compared with
# this part of the norm of all gradients
NEGLIGIBLE = 1e-3
LOSS, OUTPUTS = "loss", "outputs"
NOT_GRADS = (LOSS, OUTPUTS)


InFloat64 = Callable[[str], Alternative | None]


def refuse_different(
    reference: Alternative, other: Alternative, dtype: torch.dtype, in_float64: InFloat64
) -> float:
    """Return the largest relative difference of outputs, loss and gradients.

    in_float64  returns the alternative of that name in float64, None where there is none

    Raises GradientError beyond the tolerance, and NonFiniteError if the reference is not finite.
    """
    expected, found = _computed(reference), _computed(other)
    if not all(bool(each.isfinite().all()) for each in expected.values()):
        raise NonFiniteError(
            f"the loss or a gradient of {reference.name} is NaN or infinite at the first step"
        )
    worst, name = _worst(found, expected)
    if worst > TOLERANCES[dtype]:
        exact, same = in_float64(reference.name), in_float64(other.name)
        assert exact is not None, "torch.nn runs in float64"
        right = _computed(exact)
        if same is not None and (again := _worst(_computed(same), right))[0] > IN_FLOAT64:
            worst, name = again
        elif worst <= max(ROUNDING, OF_TORCHS_ERROR * _worst(expected, right)[0]):
            return worst
        raise GradientError(
            f"{other.name} and {reference.name} differ in {name}: {worst:.1e} of its norm",
            "times of different results cannot be compared",
            "`bptrain check` names the layer",
        )
    return worst


def _worst(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[float, str]:
    """Return the relative size of the largest difference, and its name.

    NaN and what is missing are infinitely far away.
    """
    whole = torch.stack([each.norm() for name, each in expected.items() if name not in NOT_GRADS])
    least = NEGLIGIBLE * float(whole.norm())
    differences = []
    for name, right in expected.items():
        size = max(float(right.norm()), 0.0 if name in NOT_GRADS else least) or 1.0
        difference = float((found[name] - right).norm()) / size if name in found else inf
        differences.append((inf if isnan(difference) else difference, name))
    return max(differences)


def _computed(side: Alternative) -> dict[str, Tensor]:
    """Return outputs, loss and gradients in float64, all from the same random numbers."""
    torch.manual_seed(0)
    loss = side.backpropagate()
    gradients = {f"the gradient of {name}": each for name, each in side.gradients().items()}
    with torch.no_grad():
        outputs = side.model(*side.inputs)
    side.clear()
    named = {LOSS: loss, OUTPUTS: outputs, **gradients}
    return {name: each.detach().double() for name, each in named.items()}
