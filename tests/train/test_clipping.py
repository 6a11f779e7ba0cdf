"""Clipping: torch's own values where torch has it, the paper's formula where not."""

import pytest
import torch
from torch import Tensor, nn

from bptrain.tape.layer_gradients import LayerGradients
from bptrain.train.clipping import Clipping

CUDA = pytest.param("cuda", marks=pytest.mark.cuda)
DEVICES = ["cpu", *[CUDA] * torch.cuda.is_available()]


def model_with_gradients(device: str = "cpu", size: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.BatchNorm1d(7), nn.Linear(7, 3))
    for parameter in model.parameters():
        parameter.grad = size * torch.randn_like(parameter)
    return model.to(device)


def grads_of(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters()]


def clip(model: nn.Module, clipping: Clipping) -> Tensor:
    """Clip, and return the total norm afterwards; the layers' are those of the gradients."""
    gradients = LayerGradients(model)
    norms = clipping.clip(gradients, gradients.norms())
    torch.testing.assert_close(norms, gradients.norms(), equal_nan=True)
    return norms[0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bound", [0.3, 1e4], ids=["above the bound", "below it"])
def test_the_total_norm_is_clipped_as_torch_does(bound: float, device: str) -> None:
    ours, torchs = (model_with_gradients(device) for _ in range(2))
    total = clip(ours, Clipping(norm=bound))
    nn.utils.clip_grad_norm_(torchs.parameters(), bound)
    torch.testing.assert_close(grads_of(ours), grads_of(torchs))
    assert total.shape == ()
    torch.testing.assert_close(total, nn.utils.get_total_norm(grads_of(torchs)))


def test_zero_gradients_stay_zero() -> None:
    model = model_with_gradients(size=0.0)
    assert clip(model, Clipping(norm=1.0, value=1.0, adaptive=0.01)) == 0
    assert all(grad.abs().max() == 0 for grad in grads_of(model))


def test_the_smallest_norm_is_clipped_with_the_same_1e_6_as_torch() -> None:
    ours, torchs = (model_with_gradients(size=1e-6) for _ in range(2))
    clip(ours, Clipping(norm=1e-6))
    nn.utils.clip_grad_norm_(torchs.parameters(), 1e-6)
    for mine, theirs in zip(grads_of(ours), grads_of(torchs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_elements_are_clipped_as_torch_does(device: str) -> None:
    ours, torchs = (model_with_gradients(device) for _ in range(2))
    total = clip(ours, Clipping(value=0.5))
    nn.utils.clip_grad_value_(torchs.parameters(), 0.5)
    for mine, theirs in zip(grads_of(ours), grads_of(torchs), strict=True):
        assert mine.equal(theirs)
    torch.testing.assert_close(total, nn.utils.get_total_norm(grads_of(torchs)))


@pytest.mark.parametrize("device", DEVICES)
def test_each_layer_is_clipped_to_a_fraction_of_its_weight_norm(device: str) -> None:
    model = model_with_gradients(device)
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.zero_()  # its norm counts as 1e-3
        for parameter in model[3].parameters():
            parameter.mul_(1e4)  # a weight this large leaves its gradient alone
    before = [grad.clone() for grad in grads_of(model)]
    total = clip(model, Clipping(adaptive=0.1))
    gradients = LayerGradients(model)
    norms = gradients.norms()
    norm_scale = torch.cat([p.detach() for p in model[2].parameters()]).norm()
    untouched = torch.cat([before[4].view(-1), before[5]]).norm()
    expected = torch.stack([torch.full_like(untouched, 0.1 * 1e-3), 0.1 * norm_scale, untouched])
    torch.testing.assert_close(norms[1:], expected)
    torch.testing.assert_close(total, norms[0])
    for grad, was in zip(grads_of(model)[:4], before[:4], strict=True):
        cosine = torch.cosine_similarity(grad.view(-1), was.view(-1), dim=0)
        assert cosine == pytest.approx(1)  # only the length has changed
    assert grads_of(model)[4].equal(before[4])


def test_value_clipping_comes_first_then_layers_then_the_total() -> None:
    bounds = {"value": 0.5, "adaptive": 0.1, "norm": 0.05}
    together, in_turn = (model_with_gradients() for _ in range(2))
    total = clip(together, Clipping(**bounds))
    for name, bound in bounds.items():
        last = clip(in_turn, Clipping(**{name: bound}))
    torch.testing.assert_close(grads_of(together), grads_of(in_turn))
    torch.testing.assert_close(total, last)
    assert total == pytest.approx(0.05, rel=1e-3)


def test_without_a_bound_nothing_is_clipped() -> None:
    ours, untouched = (model_with_gradients() for _ in range(2))
    total = clip(ours, Clipping())
    for mine, theirs in zip(grads_of(ours), grads_of(untouched), strict=True):
        assert mine.equal(theirs)
    assert total == LayerGradients(untouched).norms()[0]


def test_a_parameter_without_gradient_is_passed_over() -> None:
    model = model_with_gradients()
    model[0].weight.grad = None
    clip(model, Clipping(norm=0.3, value=0.5, adaptive=0.1))
    assert model[0].weight.grad is None
    unused = model_with_gradients()
    unused.zero_grad()
    assert clip(unused, Clipping(norm=0.3, value=0.5, adaptive=0.1)) == 0


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_what_is_not_finite_ends_as_in_torch(bad: float) -> None:
    ours, torchs = (model_with_gradients() for _ in range(2))
    for model in (ours, torchs):
        model[0].weight.grad[1, 2] = bad
    assert clip(ours, Clipping(norm=0.3)).isnan()
    nn.utils.clip_grad_norm_(torchs.parameters(), 0.3)
    torch.testing.assert_close(grads_of(ours), grads_of(torchs), equal_nan=True)


def test_one_layer_that_is_not_finite_leaves_the_others_to_adaptive_clipping() -> None:
    model = model_with_gradients()
    model[0].weight.grad[1, 2] = float("nan")
    clip(model, Clipping(adaptive=0.1))
    norms = LayerGradients(model).norms()
    assert norms[1].isnan()
    assert norms[2:].isfinite().all()
