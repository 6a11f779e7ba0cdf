"""Random numbers as a hash of (seed, epoch, sample, use), for whole batches, on any device.

With a stateful generator, a sample's numbers would depend on all samples before it. Hashed numbers
are the same for a sample in whatever batch it is, so that any epoch can be reproduced and a resumed
run continues as if it had never stopped.

    m(x)    = SplitMix64's finalizer of x + g                      int64, wrapping around
    key     = m(m(m(m(seed) + epoch) + use) + row)                 a stream for each sample and use
    bits_i  = m(key + i g)                                         the stream's i-th output
The hashes are nested, because with a sum seed 0's second sample would equal seed 1's first.

Uniform numbers are bit for bit the same on CPU and GPU; normal ones differ in the last digits of a
logarithm and a cosine.

Source  Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", section 3,
        with the finalizer's constants of its successors, Stafford's variant 13
"""

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15 - 2**64  # g: the same 64 bits as a signed number
FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
MANTISSA = 24  # bits of a float32 fraction
HALF = 32  # of the 64 bits: two uniform numbers, which Box-Muller turns into two normal ones


class Draws(NamedTuple):
    """The random numbers of the samples `rows` [B] of a split, in one epoch, for one use.

    use  separates the uses within an epoch, such as the transforms in a list
    """

    seed: int
    epoch: int
    rows: Tensor
    use: int = 0

    def bits(self, count: int, start: int = 0) -> Tensor:
        """Return the numbers from `start` on of each sample's stream: int64 [B, count]."""
        # a scalar on the CPU: adding it to `rows` needs no copy to a GPU
        key = scramble(torch.tensor(self.seed))
        key = scramble(scramble(key + self.epoch) + self.use)
        keys = scramble(self.rows + key)
        numbers = torch.arange(start, start + count, device=self.rows.device)
        return scramble(keys.unsqueeze(1) + numbers * GAMMA)

    def uniforms(self, count: int, start: int = 0) -> Tensor:
        """Return float32 [B, count], uniform in [0, 1)."""
        return shifted(self.bits(count, start), 64 - MANTISSA).float().mul_(2.0**-MANTISSA)

    def normals(self, count: int, start: int = 0) -> Tensor:
        """Return float32 [B, count] with mean 0 and standard deviation 1, from number `start` on.

        Source: Box and Muller 1958, "A note on the generation of random normal deviates".
        """
        bits = self.bits(-(-count // 2), start)
        # + 1/2 avoids the logarithm of 0; the largest number is 6.7
        radius = (shifted(bits, HALF).float().add_(0.5) * 2.0**-HALF).log_().mul_(-2).sqrt_()
        angle = (bits & (2**HALF - 1)).float() * (2 * pi * 2.0**-HALF)
        return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count]


def scramble(number: Tensor) -> Tensor:
    """Return m(x) of int64 numbers, a bijection: changing any bit changes half of the bits."""
    number = number + GAMMA
    number = shifted(number, 30).bitwise_xor_(number).mul_(FACTORS[0])
    number = shifted(number, 27).bitwise_xor_(number).mul_(FACTORS[1])
    return shifted(number, 31).bitwise_xor_(number)


def shifted(number: Tensor, bits: int) -> Tensor:
    """Return the numbers shifted right, filled with zeros: int64's own shift repeats the sign."""
    signed: Tensor = number >> bits
    return signed.bitwise_and_(2 ** (64 - bits) - 1)


def whole(uniform: Tensor, below: int | Tensor) -> Tensor:
    """Return int64 uniform on 0 ... below - 1, for `below` up to 2^24.

    The largest uniform number times n is below n by more than half of float32's spacing there, so
    that it never rounds up to n.
    """
    scaled: Tensor = uniform * below
    return scaled.long()


def symmetric_beta(alpha: float, uniforms: Tensor) -> Tensor:
    """Return float64 [B] of the distribution Beta(alpha, alpha), from four uniforms [B, 4] each.

    Without rejection sampling, which would draw a different count for each sample. X is of
    Beta(a + 1, a + 1), which has a formula as its parameters are equal:

        X = 1/2 + 1/2 sqrt(1 - u_0^(2 / (2a + 1))) cos(2 pi u_1)
        B = X u_2^(1/a) / (X u_2^(1/a) + (1 - X) u_3^(1/a))

    because a gamma variate of shape a is one of shape a + 1 times u^(1/a), and X is the fraction
    of two of them, which is independent of their sum. Computed in logits, as u^(1/a) underflows
    for small a.

    Source: Devroye 1986, "Non-uniform random variate generation", chapter IX, 3.1 (Stuart's
    theorem) and 4.3 (Ulrich's method); their combination is derived here.
    """
    # the middle of each of the 2^24 steps: no logarithm of 0
    u = (uniforms.double() + 2.0 ** -(MANTISSA + 1)).unbind(1)
    x = 0.5 + 0.5 * (1 - u[0] ** (2 / (2 * alpha + 1))).sqrt() * (2 * pi * u[1]).cos()
    return torch.sigmoid(x.logit() + (u[2].log() - u[3].log()) / alpha)
