"""Gradient norms by layer: each layer's, the total, and what has no gradient."""

import pytest
import torch

from bptrain import nn
from bptrain.tape.layer_gradients import LayerGradients


def test_norms_are_those_of_each_layer_and_of_all() -> None:
    model = torch.nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    model(torch.randn(5, 3)).square().sum().backward()
    gradients = LayerGradients(model)
    total, first, second = gradients.norms().tolist()
    assert gradients.tags == ["grad/total", "grad/layer/0", "grad/layer/2"]
    joined = torch.cat([model[0].weight.grad.view(-1), model[0].bias.grad])
    assert first == pytest.approx(joined.norm().item(), rel=1e-5)
    assert second == pytest.approx(model[2].weight.grad.norm().item(), rel=1e-5)
    every = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    assert total == pytest.approx(every.item(), rel=1e-5)


def test_a_frozen_layer_has_no_norm() -> None:
    model = torch.nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(requires_grad=False)
    model(torch.randn(5, 3)).sum().backward()
    assert LayerGradients(model).tags == ["grad/total", "grad/layer/1"]


def test_norms_of_16_bit_gradients_do_not_overflow() -> None:
    model = nn.Linear(2, 1).half()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 40000.0)
    assert LayerGradients(model).norms()[0].item() == pytest.approx(40000 * 3**0.5, rel=1e-3)


def test_a_shared_weight_counts_once_by_its_first_layer() -> None:
    layers = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    model = torch.nn.Sequential(*layers)
    model[1].weight = model[0].weight
    model(torch.randn(2, 3)).sum().backward()
    gradients = LayerGradients(model)
    assert gradients.tags == ["grad/total", "grad/layer/0"]
    expected = model[0].weight.grad.norm()
    torch.testing.assert_close(gradients.norms(), torch.stack([expected, expected]))


def test_a_parameter_that_a_step_did_not_use_counts_as_zero() -> None:
    used, unused = nn.Linear(3, 3), nn.Linear(3, 3)
    gradients = LayerGradients(torch.nn.Sequential(unused, used))
    used(torch.randn(2, 3)).sum().backward()
    total, first, second = gradients.norms()
    assert first == 0
    assert total == second > 0
    used.zero_grad()
    assert gradients.norms().tolist() == [0, 0, 0]


def test_weight_norms_are_those_of_each_layer() -> None:
    model = torch.nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    joined = torch.cat([model[0].weight.view(-1), model[0].bias])
    expected = torch.stack([joined.norm(), model[2].weight.norm()])
    norms = LayerGradients(model).weight_norms()
    torch.testing.assert_close(norms, expected.detach())
    assert not norms.requires_grad
