"""The L1 penalty: autograd's gradient of l1 |w|, on weights alone."""

import pytest
import torch
from torch import nn

from bptrain.train.penalty import add_l1_gradients

CUDA = pytest.param("cuda", marks=pytest.mark.cuda)


@pytest.mark.parametrize("device", ["cpu", *[CUDA] * torch.cuda.is_available()])
def test_weights_get_the_gradient_of_the_penalty_and_nothing_else_does(device: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, 2))
    model.to(device)
    x = torch.randn(4, 2, 4, device=device)
    model(x).square().mean().backward()
    add_l1_gradients(model.parameters(), 0.1)
    ours = [p.grad for p in model.parameters()]
    model.zero_grad()
    penalty = 0.1 * (model[0].weight.abs().sum() + model[3].weight.abs().sum())
    (model(x).square().mean() + penalty).backward()
    torch.testing.assert_close(ours, [p.grad for p in model.parameters()])


def test_a_weight_at_zero_gets_no_gradient() -> None:
    weight = nn.Parameter(torch.tensor([[0.0, -2.0, 3.0]]))
    weight.grad = torch.ones(1, 3)
    add_l1_gradients([weight], 0.25)
    assert weight.grad.tolist() == [[1.0, 0.75, 1.25]]


def test_a_weight_that_the_step_does_not_use_gets_no_gradient() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    add_l1_gradients([weight], 0.25)
    assert weight.grad is None
