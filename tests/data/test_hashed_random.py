"""Hashed random numbers: streams, distributions and independence."""

from itertools import product

import pytest
import torch
from scipy.special import betainc
from torch import Tensor

from bptrain.data.hashed_random import GAMMA, Draws, scramble, symmetric_beta, whole

# the first outputs of Vigna's splitmix64.c for the state 1234567
PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def kolmogorov(values: Tensor, cumulative: Tensor) -> float:
    """Return sqrt(n) times the largest gap between a sample's distribution and the true one.

    cumulative  of each value, in the order of `values`
    """
    count = values.numel()
    order = values.flatten().argsort()
    steps = torch.arange(count, dtype=torch.float64) / count
    true = cumulative.flatten()[order].double()
    return float(torch.maximum((true - steps).abs(), (true - steps - 1 / count).abs()).max()) * (
        count**0.5
    )


ALMOST_NEVER = 2.2  # Kolmogorov's statistic exceeds it once in 8,000 samples


def test_a_stream_is_that_of_splitmix64() -> None:
    outputs = scramble(torch.tensor(1234567) + torch.arange(5) * GAMMA).tolist()
    assert [number % 2**64 for number in outputs] == PUBLISHED


def test_a_sample_has_the_same_numbers_in_any_batch() -> None:
    alone = Draws(7, 3, torch.tensor([41]), 2)
    among = Draws(7, 3, torch.tensor([5, 41, 1000]), 2)
    assert alone.bits(9)[0].equal(among.bits(9)[1])
    assert alone.uniforms(9)[0].equal(among.uniforms(9)[1])
    torch.testing.assert_close(alone.normals(9)[0], among.normals(9)[1])


def test_a_stream_can_be_read_from_any_position() -> None:
    draws = Draws(0, 0, torch.arange(4))
    assert draws.bits(10)[:, 4:].equal(draws.bits(6, start=4))
    assert draws.uniforms(10)[:, 4:].equal(draws.uniforms(6, start=4))


def test_global_random_state_does_not_matter() -> None:
    draws = Draws(0, 0, torch.arange(4))
    first = draws.normals(5)
    torch.manual_seed(99)
    torch.rand(3)
    assert draws.normals(5).equal(first)


def test_neighboring_seeds_epochs_uses_and_rows_share_no_stream() -> None:
    rows = torch.arange(9)
    seeds = [0, 1, 2, 8, 2**62, 2**63 - 1]
    firsts = [
        Draws(seed, epoch, rows, use).bits(4)
        for seed, epoch, use in product(seeds, range(6), range(6))
    ]
    every = torch.cat(firsts).flatten()
    assert len(every.unique()) == len(every)


@pytest.mark.parametrize("along", ["rows", "epochs", "uses", "draws"])
def test_uniforms_are_uniform_along_each_axis_and_neighbors_are_independent(along: str) -> None:
    count = 20_000
    rows = torch.arange(count)
    few = torch.arange(1)
    drawn = {
        "rows": lambda: Draws(1, 0, rows).uniforms(1)[:, 0],
        "epochs": lambda: torch.cat([Draws(1, e, few).uniforms(1)[0] for e in range(2000)]),
        "uses": lambda: torch.cat([Draws(1, 0, few, p).uniforms(1)[0] for p in range(2000)]),
        "draws": lambda: Draws(1, 0, few).uniforms(count)[0],
    }[along]()
    assert 0 <= drawn.min() < drawn.max() < 1
    assert kolmogorov(drawn, drawn) < ALMOST_NEVER
    for lag in (1, 2, 7):
        pairs = torch.stack([drawn[:-lag], drawn[lag:]]).double()
        assert abs(float(pairs.corrcoef()[0, 1])) < 4.5 / len(drawn) ** 0.5


def test_normals_are_normal_and_both_of_a_pair_are_independent() -> None:
    drawn = Draws(2, 5, torch.arange(400)).normals(501)
    assert drawn.shape == (400, 501)
    assert kolmogorov(drawn, torch.special.ndtr(drawn.double())) < ALMOST_NEVER
    assert abs(drawn.double().mean()) < 4.5 / drawn.numel() ** 0.5
    cosines, sines = drawn[:, :250].double(), drawn[:, 251:].double()
    assert abs((cosines * sines).mean()) < 4.5 / cosines.numel() ** 0.5
    assert abs((cosines**2 * sines**2).mean() - 1) < 4.5 * 8**0.5 / cosines.numel() ** 0.5


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 2.5, 40.0])
def test_symmetric_beta_has_the_distribution_of_its_name(alpha: float) -> None:
    drawn = symmetric_beta(alpha, Draws(3, 0, torch.arange(20_000)).uniforms(4))
    # both halves mirror each other; near 1 the steps of float64 would show, near 0 they do not
    low = drawn[drawn < 0.5]
    assert abs(len(low) - 10_000) < 4.5 * 0.5 * 20_000**0.5
    cumulative = 2 * torch.from_numpy(betainc(alpha, alpha, low.numpy()))
    assert kolmogorov(low, cumulative) < ALMOST_NEVER


@pytest.mark.parametrize("alpha", [1e-6, 100.0])
def test_symmetric_beta_stays_a_number_at_the_ends(alpha: float) -> None:
    ends = torch.tensor([0.0, 1 - 2.0**-24])
    corners = torch.cartesian_prod(ends, torch.tensor([0.0, 0.5, 1 - 2.0**-24]), ends, ends)
    drawn = symmetric_beta(alpha, corners)
    assert ((drawn >= 0) & (drawn <= 1)).all()


def test_the_largest_uniform_number_stays_below_any_count() -> None:
    largest = torch.tensor(1 - 2.0**-24)
    counts = torch.cat([torch.arange(1, 5000), 2 ** torch.arange(25), 2 ** torch.arange(1, 25) - 1])
    assert whole(largest, counts).equal(counts - 1)
    assert whole(torch.tensor(0.0), counts).equal(torch.zeros_like(counts))
