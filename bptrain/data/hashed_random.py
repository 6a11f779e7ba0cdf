"""Random numbers that are a pure function of who asks, for whole batches, on any device.

A generator with a state deals its numbers out in turn: what a sample gets would depend on who asked
before it. Here numbers are hashed, so that a sample is dealt the same ones in whatever batch it
comes, an epoch can be served again, and a resumed run goes on as if it had never stopped.

    m(x)    = SplitMix64's finalizer of x + g                      int64, wrapping around
    key     = m(m(m(m(seed) + epoch) + place) + row)               a stream for each sample and use
    bits_i  = m(key + i g)                                         the stream's i-th output
Hashed one after the other: of a sum, seed 0's second sample would be seed 1's first.

Uniform numbers are bit for bit the same on CPU and GPU; normal ones to the last digits of a
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
MANTISSA = 24  # bits that float32 holds of a fraction: its products with whole numbers stay below
HALF = 32  # of the 64 bits: two uniform numbers, of which Box and Muller make two normal ones


class Draws(NamedTuple):
    """What is dealt to the samples `rows` [B] of a split, in one epoch, for one use.

    place  tells the uses of an epoch apart, such as the transforms in a list
    """

    seed: int
    epoch: int
    rows: Tensor
    place: int = 0

    def bits(self, count: int, start: int = 0) -> Tensor:
        """Return the numbers `start` ... of each sample's stream, all 64 bits: int64 [B, count]."""
        # scalars on the CPU, which the first sum with `rows` takes along: no copy to a GPU
        key = scramble(torch.tensor(self.seed))
        key = scramble(scramble(key + self.epoch) + self.place)
        keys = scramble(self.rows + key)
        numbers = torch.arange(start, start + count, device=self.rows.device)
        return scramble(keys.unsqueeze(1) + numbers * GAMMA)

    def uniforms(self, count: int, start: int = 0) -> Tensor:
        """Return float32 [B, count], uniform in [0, 1)."""
        return shifted(self.bits(count, start), 64 - MANTISSA).float().mul_(2.0**-MANTISSA)

    def normals(self, count: int, start: int = 0) -> Tensor:
        """Return float32 [B, count] of mean 0 and deviation 1: those of `start` and further ones.

        Source: Box and Muller 1958, "A note on the generation of random normal deviates".
        """
        bits = self.bits(-(-count // 2), start)
        # + 1/2: a logarithm of 0 is infinite; the largest number is 6.7
        radius = (shifted(bits, HALF).float().add_(0.5) * 2.0**-HALF).log_().mul_(-2).sqrt_()
        angle = (bits & (2**HALF - 1)).float() * (2 * pi * 2.0**-HALF)
        return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count]


def scramble(number: Tensor) -> Tensor:
    """Return m of int64 numbers, one to one: half of the bits change with any bit."""
    number = number + GAMMA
    number = shifted(number, 30).bitwise_xor_(number).mul_(FACTORS[0])
    number = shifted(number, 27).bitwise_xor_(number).mul_(FACTORS[1])
    return shifted(number, 31).bitwise_xor_(number)


def shifted(number: Tensor, places: int) -> Tensor:
    """Return the bits shifted right, zeros coming in: int64's own shift repeats the sign."""
    signed: Tensor = number >> places
    return signed.bitwise_and_(2 ** (64 - places) - 1)


def whole(uniform: Tensor, below: int | Tensor) -> Tensor:
    """Return int64 uniform on 0 ... below - 1, for `below` up to 2^24.

    The largest uniform number times n is off n by more than half of float32's step there: it
    never rounds up to n.
    """
    scaled: Tensor = uniform * below
    return scaled.long()


def symmetric_beta(alpha: float, uniforms: Tensor) -> Tensor:
    """Return float64 [B] of the distribution Beta(alpha, alpha), from four uniforms [B, 4] each.

    Without rejection, which would draw a different count for each sample: with X of
    Beta(a + 1, a + 1), which for two equal parameters has a formula,

        X = 1/2 + 1/2 sqrt(1 - u_0^(2 / (2a + 1))) cos(2 pi u_1)
        B = X u_2^(1/a) / (X u_2^(1/a) + (1 - X) u_3^(1/a))

    because a gamma variate of shape a is one of shape a + 1 times u^(1/a), and X is that share of
    two of them which is independent of their sum. In logits, as u^(1/a) underflows for small a.

    Source: Devroye 1986, "Non-uniform random variate generation", chapter IX, 3.1 (Stuart's
    theorem) and 4.3 (Ulrich's method); their combination is derived here.
    """
    # the middle of each of the 2^24 steps: no logarithm of 0
    u = (uniforms.double() + 2.0 ** -(MANTISSA + 1)).unbind(1)
    x = 0.5 + 0.5 * (1 - u[0] ** (2 / (2 * alpha + 1))).sqrt() * (2 * pi * u[1]).cos()
    return torch.sigmoid(x.logit() + (u[2].log() - u[3].log()) / alpha)
