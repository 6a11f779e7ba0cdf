"""Averaged weights: torch's own average, the swap for an evaluation, and a resume."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bptrain.train.averaging import AveragedWeights

CUDA = pytest.param("cuda", marks=pytest.mark.cuda)
DEVICES = ["cpu", *[CUDA] * torch.cuda.is_available()]


def network(device: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(device)


def train_a_step(model: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(5, 3).to(next(model.parameters()).device)
    model.zero_grad()
    model(x).square().sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(ours[k].equal(theirs[k]) for k in ours)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("decay", [0.1, 0.6], ids=["constant decay", "rising decay"])
def test_the_average_is_torchs_own(decay: float, device: str) -> None:
    def rising(average: list[Tensor], live: list[Tensor], n: Tensor) -> None:
        get_ema_multi_avg_fn(min(decay, n.item() / (9 + n.item())))(average, live, n)

    average_of = get_ema_multi_avg_fn(decay) if decay == 0.1 else rising
    model = network(device)
    ours = AveragedWeights(model, decay)
    theirs = AveragedModel(model, multi_avg_fn=average_of, use_buffers=True)
    theirs.update_parameters(model)  # the first call copies
    for step in range(20):  # from step 12.5 on the decay is 0.6
        train_a_step(model, step)
        ours.update()
        theirs.update_parameters(model)
    expected = theirs.module.state_dict()
    counted = "1.num_batches_tracked"
    assert ours.tensors().keys() == expected.keys()
    for name, average in ours.tensors().items():
        if name != counted:
            torch.testing.assert_close(average, expected[name], rtol=1e-5, atol=1e-7)
    assert ours.tensors()[counted] == 20
    assert not same(ours.tensors(), model.state_dict())


def test_the_initial_weights_are_soon_forgotten() -> None:
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 1e6)
    averaged = AveragedWeights(model, 0.9999)
    nn.init.constant_(model.weight, 1.0)
    for _ in range(30):
        averaged.update()
    assert averaged.tensors()["weight"].item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("device", DEVICES)
def test_a_model_computes_with_the_average_inside_the_block_and_is_itself_again(
    device: str,
) -> None:
    model = network(device)
    averaged = AveragedWeights(model, 0.5)
    for step in range(3):
        train_a_step(model, step)
        averaged.update()
    x = torch.randn(4, 3, device=device)
    restored = network(device)
    restored.load_state_dict(averaged.tensors())
    own, average = copied(model.state_dict()), copied(averaged.tensors())
    parameters = list(model.parameters())
    with averaged.in_place_of(model):
        assert same(model.state_dict(), average)
        assert model.eval()(x).equal(restored.eval()(x))
        model.train()(x)  # moves the running statistics
    assert same(model.state_dict(), own)
    assert same(averaged.tensors(), average)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(p.requires_grad for p in model.parameters())


def test_a_model_is_itself_again_after_an_exception() -> None:
    model = network()
    averaged = AveragedWeights(model, 0.5)
    train_a_step(model, 0)
    own = copied(model.state_dict())
    with pytest.raises(KeyboardInterrupt), averaged.in_place_of(model):
        raise KeyboardInterrupt
    assert same(model.state_dict(), own)


def test_another_model_can_take_the_average() -> None:
    model, other = network(), network()
    averaged = AveragedWeights(model, 0.5)
    train_a_step(model, 0)
    averaged.update()
    own = copied(other.state_dict())
    with averaged.in_place_of(other):
        assert same(other.state_dict(), averaged.tensors())
    assert same(other.state_dict(), own)


def test_a_shared_weight_is_averaged_once_and_named_twice() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    nn.init.zeros_(model[0].weight)
    averaged = AveragedWeights(model, 0.1)
    nn.init.ones_(model[0].weight)
    averaged.update()
    tensors = averaged.tensors()
    assert tensors.keys() == {"0.weight", "1.weight"}
    assert tensors["0.weight"] is tensors["1.weight"]
    torch.testing.assert_close(tensors["0.weight"], torch.full((2, 2), 0.9))
    with averaged.in_place_of(model):
        assert model[1].weight is model[0].weight
    assert model[0].weight.equal(torch.ones(2, 2))


def test_a_resumed_average_continues_as_if_never_stopped() -> None:
    model = network()
    whole = AveragedWeights(model, 0.999)
    for step in range(5):
        train_a_step(model, step)
        whole.update()
    state = {**whole.state(), "tensors": copied(whole.tensors())}
    resumed = AveragedWeights(model, 0.999)
    resumed.restore(state)
    for step in range(5, 8):
        train_a_step(model, step)
        whole.update()
        resumed.update()
    assert same(resumed.tensors(), whole.tensors())
    assert resumed.state()["updates"] == whole.state()["updates"] == 8
    assert not same(state["tensors"], resumed.tensors())  # the checkpoint's tensors were copied


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_the_average_of_another_model_is_refused(change: str) -> None:
    averaged = AveragedWeights(network(), 0.5)
    tensors = averaged.tensors()
    if change == "missing":
        del tensors["0.bias"]
    else:
        tensors["0.bias" if change == "shape" else "3.bias"] = torch.zeros(9)
    with pytest.raises(ValueError, match=r"[03]\.bias is"):
        averaged.restore({"updates": 1, "tensors": tensors})
