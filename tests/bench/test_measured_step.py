"""A measured step: what is compared, counted and left out. No time is asserted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bptrain import nn
from bptrain.bench import agreement, engines, products, step
from bptrain.bench.agreement import refuse_different
from bptrain.bench.engines import CHANNELS_LAST, COMPILED, TORCH, ByAutograd
from bptrain.bench.step import measure_step
from bptrain.bench.step_memory import kept_bytes, peak_bytes
from bptrain.bench.subject import Subject
from bptrain.errors import GradientError, NonFiniteError, UsageError
from bptrain.train.precision import Precision

OURS = "bptrain, autograd"
SLOW = engines.WITH_COMPILER  # which take a minute to start
ALL_ENGINES = dict(engines.ENGINES)


@pytest.fixture(autouse=True)
def autograd_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure one engine of ours, whichever others there are, and for a short time."""
    monkeypatch.setattr(engines, "ENGINES", {"autograd": ByAutograd})
    monkeypatch.setattr(products, "PEAK_SIDE", {"cpu": 64})  # small probes, short turns
    monkeypatch.setattr(products, "COPIED_NUMBERS", 1024)
    monkeypatch.setattr(step, "TURN_S", 0.0)


def subject(
    *layers: torch.nn.Module, inputs: tuple[int, ...] = (4, 6), dtype: Any = None
) -> Subject:
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(layers or (nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))))
    precision = Precision(dtype or torch.float32, torch.device("cpu"))
    batch = (torch.randn(inputs),), (torch.tensor([0, 1, 2, 1]),)
    return Subject("test", model, nn.CrossEntropyLoss(), *batch, precision, update, 1)


def update(model: torch.nn.Module) -> Callable[[], object]:
    return torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9).step


def measured(given: Subject) -> Any:
    return measure_step(given, turns=3, with_compiler=False)


def engine(change: Callable[[torch.nn.Module], None]) -> engines.Engine:
    """Return an engine that changes the gradients after autograd made them."""

    class Changed(ByAutograd):
        def __call__(self, inputs: tuple[Any, ...], targets: tuple[Tensor, ...]) -> Tensor:
            loss = super().__call__(inputs, targets)
            change(self.model)
            return loss

    return Changed


def test_ours_and_torchs_step_are_measured_beside_the_floor() -> None:
    results = measured(subject())
    assert [each.name for each in results.alternatives] == [TORCH, OURS]
    assert results.parameters == 53
    assert results.batch == [[4, 6]]
    assert results.flops == 2 * (2 * 4 * 6 * 5) + 3 * (2 * 4 * 5 * 3)
    assert results.floor.seconds == results.floor.products_s + results.floor.optimizer_s > 0
    theirs, ours = results.alternatives
    assert (theirs.is_ours, ours.is_ours) == (False, True)
    assert theirs.over_torch.median == theirs.over_torch.high == 1
    for each in (theirs, ours):
        assert 0 < each.step_s.low <= each.step_s.median <= each.step_s.high
        at_peak_s = results.flops / results.matmul_peak
        assert each.of_matmul_peak == pytest.approx(at_peak_s / each.step_s.median)
    assert [(each.ours, each.theirs) for each in results.ratios] == [(OURS, TORCH)]
    assert {each.operation for each in results.operations} == {"linear", "relu", "cross_entropy"}
    assert next(e for e in results.operations if e.operation == "linear").calls == 2


@pytest.mark.parametrize("name", [name for name in ALL_ENGINES if name not in SLOW])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_engine_computes_what_torch_does(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ENGINES", ALL_ENGINES)
    given = subject(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3), dtype=dtype)
    reference, mine = engines.torchs(given), engines.ours(given, name)
    refuse_different(reference, mine, dtype, lambda _: None)


def test_every_row_of_our_engines_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.ENGINES, "another", ByAutograd)
    results = measured(subject())
    assert [each.name for each in results.alternatives] == [TORCH, OURS, "bptrain, another"]
    assert len(results.ratios) == 2


def test_the_compiled_formulas_are_measured_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ENGINES", dict.fromkeys(ALL_ENGINES, ByAutograd))
    monkeypatch.setattr(engines, "WITH_COMPILER", ())
    for asked in (False, True):
        results = measure_step(subject(), turns=3, with_compiler=False, with_formulas=asked)
        names = [each.name for each in results.alternatives]
        assert ("bptrain, compiled formulas" in names) == asked
        assert "bptrain, compiled" in names


def test_an_engine_that_cannot_run_is_left_out_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> engines.TrainingStep:
        raise UsageError("no such engine here", "a reason")

    monkeypatch.setitem(engines.ENGINES, "another", refuse)
    assert measured(subject()).left_out == {"bptrain, another": "no such engine here; a reason"}


def test_torch_compile_is_left_out_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    results = measure_step(subject(), turns=3)
    assert results.left_out == {COMPILED: "no C++ compiler was found"}


def scaled(model: torch.nn.Module) -> None:
    for weight in model.parameters():
        assert weight.grad is not None
        weight.grad *= 1.01


def without_one(model: torch.nn.Module) -> None:
    next(model.parameters()).grad = None


@pytest.mark.parametrize(
    ("change", "said"), [(scaled, "1.0e-02 of its norm"), (without_one, "inf of its norm")]
)
def test_other_gradients_than_torchs_are_refused_before_anything_is_timed(
    change: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engines.ENGINES, "wrong", engine(change))
    monkeypatch.setattr("bptrain.bench.step.time_in_turns", None)
    with pytest.raises(GradientError, match=said):
        measured(subject())


def test_a_small_gradient_is_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(model: torch.nn.Module) -> None:
        bias = [*model.parameters()][-1]
        assert bias.grad is not None
        bias.grad[0] *= 1.1

    monkeypatch.setitem(engines.ENGINES, "wrong", engine(change))
    with pytest.raises(GradientError, match=r"2\.bias"):
        measured(subject())


def test_a_bias_before_batch_normalization_has_a_gradient_of_rounding_alone() -> None:
    layers = (nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    differences = [each.largest_difference for each in measured(subject(*layers)).alternatives]
    assert max(differences) < 1e-3


def test_a_difference_that_vanishes_in_float64_is_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def change(model: torch.nn.Module) -> None:
        for weight in model.parameters():
            assert weight.grad is not None
            weight.grad *= 1.01 if weight.dtype == torch.float32 else 1.0

    monkeypatch.setitem(engines.ENGINES, "noisy", engine(change))
    noisy = measured(subject()).alternatives[-1]
    assert noisy.largest_difference == pytest.approx(0.01, rel=1e-3)
    monkeypatch.setattr(agreement, "ROUNDING", 0.005)
    with pytest.raises(GradientError, match="differ"):
        measured(subject())


def test_float64_shows_the_difference_of_a_wrong_gradient_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def change(model: torch.nn.Module) -> None:
        for weight in model.parameters():
            assert weight.grad is not None
            weight.grad *= 1.08

    monkeypatch.setitem(engines.ENGINES, "wrong", engine(change))
    with pytest.raises(GradientError, match=r"8\.0e-02"):
        measured(subject(dtype=torch.bfloat16))


def test_a_gradient_of_nan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(model: torch.nn.Module) -> None:
        next(model.parameters()).grad.fill_(torch.nan)

    monkeypatch.setitem(engines.ENGINES, "wrong", engine(change))
    with pytest.raises(GradientError, match="inf of its norm"):
        measured(subject())


def test_a_loss_that_is_not_finite_is_refused() -> None:
    given = subject()
    torch.nn.init.constant_(given.model[0].weight, torch.inf)
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        measured(given)


def test_dropout_is_off_while_gradients_are_compared_and_on_while_they_are_timed() -> None:
    given = subject(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 3))
    assert given.is_random
    assert not given.without_dropout().is_random
    results = measured(given)
    assert all(each.largest_difference < 1e-3 for each in results.alternatives)
    assert "dropout" in {each.operation for each in results.operations}


def test_a_recurrent_layers_dropout_is_off_while_gradients_are_compared() -> None:
    given = subject(nn.LSTM(6, 5, num_layers=2, dropout=0.5))
    assert given.is_random
    assert not given.without_dropout().is_random


def test_images_are_measured_channels_last_too() -> None:
    layers = (nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    results = measured(subject(*layers, inputs=(4, 1, 4, 4)))
    assert [each.name for each in results.alternatives] == [TORCH, CHANNELS_LAST, OURS]


def test_bfloat16_is_compared_and_measured_under_autocast() -> None:
    results = measured(subject(dtype=torch.bfloat16))
    assert results.precision == "bfloat16"


def test_kept_bytes_are_those_of_the_derivation() -> None:
    ours = engines.ours(subject(nn.Linear(6, 3)), "autograd")
    # the input of the linear layer; of the loss its probabilities, the targets and a few scalars
    assert 4 * 4 * 6 + 4 * 4 * 3 <= kept_bytes(ours) <= 4 * 4 * 6 + 2 * 4 * 4 * 3 + 8 * 4 + 64


def test_the_peak_holds_all_gradients_and_is_the_same_each_time() -> None:
    ours = engines.ours(subject(), "autograd")
    peaks = {peak_bytes(ours) for _ in range(3)}
    assert len(peaks) == 1
    assert peaks.pop() >= 4 * 53


def test_a_step_that_saves_by_itself_says_so() -> None:
    ours = engines.ours(subject(), "autograd")
    before = peak_bytes(ours)
    ours.step.kept_bytes, ours.step.held_bytes = 123, 1000  # type: ignore[attr-defined]
    assert kept_bytes(ours) == 123
    assert peak_bytes(ours) == before + 1000


def test_nothing_is_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    measured(subject())
    assert capfd.readouterr() == ("", "")


def test_a_step_without_a_kernel_for_the_processor_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: Tensor) -> Tensor:
        raise RuntimeError("could not create a primitive descriptor for the LSTM. See the docs.")

    monkeypatch.setattr(torch.nn.functional, "linear", refused)
    with pytest.raises(UsageError, match="on this processor") as caught:
        measured(subject())
    assert caught.value.why == "could not create a primitive descriptor for the LSTM"
