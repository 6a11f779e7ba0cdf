"""No update is made from a loss or gradient that is not finite, and nothing waits to see it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bptrain.optim.adagrad import AdagradConfig, RMSpropConfig
from bptrain.optim.adam import AdamConfig, AdamWConfig, NAdamConfig
from bptrain.optim.lbfgs import LBFGSConfig
from bptrain.optim.muon import MuonConfig
from bptrain.optim.sgd import SGDConfig
from bptrain.tape.layer_gradients import LayerGradients
from bptrain.train.averaging import AveragedWeights
from bptrain.train.precision import Precision, PrecisionName
from bptrain.train.update import Change, Update

CPU = torch.device("cpu")
FUSED = [SGDConfig(), AdamConfig(), AdamWConfig(), AdagradConfig()]
EVERY = [*FUSED, RMSpropConfig(), NAdamConfig(), MuonConfig(), LBFGSConfig()]
FINITE, BAD = 1.0, [float("nan"), float("inf"), float("-inf")]


class Trained:
    """A small model, and steps with a given loss and gradient."""

    def __init__(self, config: Any, precision: PrecisionName = "fp32", **options: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
        self.update = Update(
            config.build(self.model),
            lambda step: 1.0,
            LayerGradients(self.model),
            Precision.of(precision, CPU),
            searches=config.searches,
            **options,
        )

    def step(self, loss: float = FINITE, element: float = FINITE) -> Change:
        """Take a step with a loss, and an element of a gradient times a factor."""
        scale = self.update.precision.scale
        for parameter in self.model.parameters():
            parameter.grad = torch.ones_like(parameter) * (1 if scale is None else scale)
        gradient = self.model[1].weight.grad
        assert isinstance(gradient, Tensor)
        gradient[1, 2] *= element
        if self.update.searches:
            return self.update.search(0, torch.tensor(loss), lambda: torch.tensor(loss / 2))
        return self.update(0, torch.tensor(loss))

    def held(self) -> list[Tensor]:
        """Return copies of the weights and the optimizer's state."""
        states = self.update.optimizer.state.values()
        entries = [each for state in states for each in state.values() if torch.is_tensor(each)]
        return [each.detach().clone() for each in (*self.model.parameters(), *entries)]


def are_equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other)) and len(one) == len(other)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", ["loss", "element"])
@pytest.mark.parametrize("config", EVERY, ids=lambda each: each.kind)
def test_weights_and_optimizer_stay_as_they_were_from_the_first_such_step_on(
    config: Any, place: str, bad: float
) -> None:
    trained = Trained(config)
    trained.step()
    before = trained.held()
    trained.step(**{place: bad})
    assert are_equal(trained.held(), before)
    trained.step()
    assert are_equal(trained.held(), before)
    assert bool(trained.update.withholding.withheld)
    trained.update.withholding.release()
    trained.step()
    assert not are_equal(trained.held()[:1], before[:1])


@pytest.mark.parametrize("bad", BAD)
def test_in_fp16_only_the_loss_counts_as_the_scaler_sees_to_the_gradients(bad: float) -> None:
    trained = Trained(SGDConfig(), "fp16")
    trained.step()
    before = trained.held()
    trained.step(element=bad)
    assert are_equal(trained.held(), before)
    trained.step()
    assert not are_equal(trained.held(), before)
    before = trained.held()
    trained.step(loss=bad)
    trained.step()
    assert are_equal(trained.held(), before)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("config", EVERY[:-1], ids=lambda each: each.kind)
def test_where_steps_are_skipped_the_next_one_counts_and_the_average_is_of_those_that_do(
    config: Any, precision: PrecisionName
) -> None:
    trained, reference = Trained(config, precision), Trained(config, precision)
    for each in (trained, reference):
        each.update.average = AveragedWeights(each.model, 0.5)
        each.update.withholding.each_step = True
    skipped = [trained.step(loss).is_skipped for loss in (BAD[0], 1.0, BAD[1], BAD[2], 1.0)]
    assert skipped == [True, False, True, True, False]
    assert [reference.step().is_skipped for _ in range(2)] == [False, False]
    assert are_equal(trained.held(), reference.held())
    averages = [list(each.update.average.tensors().values()) for each in (trained, reference)]
    assert are_equal(*averages)


def test_a_total_norm_that_overflows_withholds_nothing() -> None:
    trained = Trained(SGDConfig(lr=1e-30))
    for layer in (0, 1):
        parameter = trained.model[layer].weight
        parameter.grad = torch.zeros_like(parameter)
        parameter.grad[0, 0] = 1.8e19  # its square is 3.2e38, twice that is infinite
    change = trained.update(0, torch.tensor(1.0))
    assert change.norms[0] == float("inf")
    assert not bool(trained.update.withholding.withheld)


class NoWaiting(TorchDispatchMode):
    """Refuses to hand a number of a tensor to the host."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        assert "_local_scalar_dense" not in str(func), "the host waits for a number"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("loss", [FINITE, BAD[0]])
@pytest.mark.parametrize("config", FUSED, ids=lambda each: each.kind)
def test_no_fused_optimizer_waits_for_the_device(config: Any, loss: float) -> None:
    trained = Trained(config)
    for parameter in trained.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    given = torch.tensor(loss)
    with NoWaiting():
        trained.update(0, given)
        trained.update(1, given)


def test_that_test_would_notice_one() -> None:
    waits: Callable[[], Any] = torch.ones(()).item
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        waits()
