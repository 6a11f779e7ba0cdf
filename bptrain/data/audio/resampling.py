"""Recordings at another sample rate: a windowed-sinc low-pass filter, applied in polyphase form.

scipy.signal.resample_poly is there with scikit-learn. It filters in the time domain and without a
delay, so that no sound wraps around from the end to the beginning, and what lies above the lower of
the two Nyquist frequencies is removed before it could fold back as another pitch.
"""

from fractions import Fraction
from math import ceil

import torch
from torch import Tensor

LARGEST_TERM = 10_000  # of a ratio: the filter has 20 times as many taps
REACH = 10  # samples of the lower rate that the filter looks at on each side


def resampled(samples: Tensor, rate: int, new_rate: int) -> Tensor:
    """Return a recording [S] of `rate` samples per second with `new_rate` of them."""
    if rate == new_rate or len(samples) == 0:
        return samples
    # costs 0.3 s, needed only where rates differ
    from scipy.signal import resample_poly

    up, down = ratio(rate, new_rate)
    return torch.from_numpy(resample_poly(samples.numpy(), up, down))


def ratio(rate: int, new_rate: int) -> tuple[int, int]:
    """Return the factors by which a rate is raised and lowered, in small whole numbers.

    Where these do not exist the pitch changes by less than a ten-thousandth.
    """
    low, high = sorted((rate, new_rate))
    near = Fraction(low, high).limit_denominator(LARGEST_TERM)
    terms = (max(1, near.numerator), near.denominator)
    return terms if new_rate < rate else terms[::-1]


def middle(samples: Tensor, seconds: float, rate: int, new_rate: int) -> Tensor:
    """Return the middle of a recording [S], with as much around it as the filter looks at.

    All of it, if its rate stays the same.
    """
    if rate == new_rate:
        return samples
    around = ceil(REACH * max(1.0, rate / new_rate)) + 1
    extra = len(samples) - (ceil(seconds * rate) + 2 * around)
    return samples[extra // 2 : len(samples) - (extra - extra // 2)] if extra > 0 else samples
