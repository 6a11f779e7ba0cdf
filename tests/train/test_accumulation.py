"""Accumulation: the groups of an epoch, and a gradient as of one large batch."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from bptrain.train.accumulation import first_that_counts, groups, part_of_loss, shares


@dataclass(frozen=True)
class Samples:
    x: Tensor
    whole: None = None

    @property
    def weight(self) -> int:
        return len(self.x)


def batches(sizes: list[int]) -> list[Samples]:
    torch.manual_seed(0)
    return [Samples(torch.randn(size, 3)) for size in sizes]


@pytest.mark.parametrize(
    ("count", "size", "lengths"), [(6, 2, [2, 2, 2]), (5, 2, [2, 2, 1]), (2, 5, [2]), (0, 3, [])]
)
def test_an_epoch_is_cut_into_groups_in_its_order(
    count: int, size: int, lengths: list[int]
) -> None:
    served = batches([1] * count)
    cut = list(groups(iter(served), size))
    assert [len(group) for group in cut] == lengths
    assert [batch for group in cut for batch in group] == served


def test_no_batch_is_asked_for_before_its_group() -> None:
    served = []
    epoch = (served.append(batch) or batch for batch in batches([1] * 6))
    next(groups(epoch, 2))
    assert len(served) == 2


def test_batches_of_unequal_size_give_the_gradient_of_one_large_batch() -> None:
    model = nn.Linear(3, 2)
    group = batches([4, 4, 1])
    for batch, share in zip(group, shares(group), strict=True):
        loss = model(batch.x).square().mean()
        loss.backward(torch.full_like(loss, share))
    accumulated = [p.grad for p in model.parameters()]
    model.zero_grad()
    model(torch.cat([batch.x for batch in group])).square().mean().backward()
    torch.testing.assert_close(accumulated, [p.grad for p in model.parameters()])


def test_a_batch_that_counts_nothing_has_no_share() -> None:
    assert shares(batches([2, 0, 6])) == [0.25, 0, 0.75]
    assert shares(batches([0, 0])) == [0, 0]


def test_the_mean_of_nothing_counts_0_with_the_gradient_0() -> None:
    x = torch.randn(0, 3, requires_grad=True)
    weight = torch.randn(3, requires_grad=True)
    mean = (x @ weight).mean()
    assert mean.isnan()
    part = part_of_loss(mean, 0.0)
    assert part == 0
    part.backward()
    assert weight.grad.tolist() == [0, 0, 0]


def test_the_first_batch_that_counts_is_found() -> None:
    served = batches([0, 0, 3, 2])
    assert first_that_counts(served) is served[2]
    assert first_that_counts(served[:2]) is served[0]
