"""Batch normalization over processes: of one it is batch_norm."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bptrain.ops.batch_norm import batch_norm
from bptrain.ops.over_processes import is_synchronized, synchronize, with_local_sums


@pytest.fixture
def exchanged() -> Iterator[list[Tensor]]:
    """Synchronize with nobody else, and return what is exchanged."""
    seen: list[Tensor] = []
    synchronize(lambda values: seen.append(values) or values)
    yield seen
    synchronize(None)


def inputs(*shape: int) -> list[Tensor]:
    torch.manual_seed(0)
    x = torch.randn(*shape, dtype=torch.float64) * 3 + 5
    w, b = torch.randn(2, shape[1], dtype=torch.float64)
    return [each.requires_grad_() for each in (x, w, b)]


def results(x: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
    """Return the output, the running statistics and the gradients."""
    running = torch.zeros_like(w).detach(), torch.ones_like(w).detach()
    y = batch_norm(x, *running, w, b, training=True)
    factors = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y, *running, *torch.autograd.grad((y * factors).square().sum(), (x, w, b))]


@pytest.mark.parametrize("shape", [(7, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_of_one_process_it_is_batch_norm(shape: tuple[int, ...], exchanged: list[Tensor]) -> None:
    given = inputs(*shape)
    found = results(*given)
    assert [len(each) for each in exchanged] == [1 + shape[1], shape[1], 2 * shape[1]]
    synchronize(None)
    assert not is_synchronized()
    for one, other in zip(found, results(*given), strict=True):
        torch.testing.assert_close(one, other)


def test_its_gradients_are_those_of_finite_differences(exchanged: list[Tensor]) -> None:
    assert torch.autograd.gradcheck(
        lambda x, w, b: batch_norm(x, None, None, w, b, training=True), inputs(4, 2, 3)
    )
    assert exchanged


def test_a_step_that_others_do_not_take_exchanges_nothing(exchanged: list[Tensor]) -> None:
    with with_local_sums():
        results(*inputs(7, 3))
    assert exchanged == []


def test_a_process_may_have_a_single_value(exchanged: list[Tensor]) -> None:
    y = batch_norm(torch.ones(1, 2), torch.zeros(2), torch.ones(2), training=True)
    assert y.tolist() == [[0, 0]]
