"""Accumulation: the groups of an epoch, and a gradient as of one large batch."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from bptrain.train.accumulation import groups, shares


@dataclass(frozen=True)
class Samples:
    x: Tensor

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
