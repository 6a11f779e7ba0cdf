"""A NaN or an infinity planted anywhere in a step is found where it was planted."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from bptrain import nn
from bptrain.models import CNNConfig, MLPConfig, RNNConfig
from bptrain.monitor.finding import Finding
from bptrain.monitor.first_non_finite import first_non_finite
from bptrain.monitor.step_part import Part
from bptrain.ops import linear
from bptrain.problem import Problem
from bptrain.tape import observed_run
from bptrain.tape.calls import Call, Gradients, Values

IMAGES = Problem("classification", (2, 8, 8), 4)
SERIES = Problem("classification", (7, 3), 4, is_sequence=True)
MLP = MLPConfig(hidden=[8, 6], normalization="batch", dropout=0.2)
CNN = CNNConfig(stages=[{"channels": 4}, {"channels": 6}])
LSTM = RNNConfig(cell="lstm", hidden=5, layers=2, dropout=0.2)
MODELS: dict[str, Callable[[], tuple[torch.nn.Module, Tensor]]] = {
    "mlp": lambda: (MLP.build(IMAGES, "cpu"), torch.randn(6, 2, 8, 8)),
    "cnn": lambda: (CNN.build(IMAGES, "cpu"), torch.randn(6, 2, 8, 8)),
    "lstm": lambda: (LSTM.build(SERIES, "cpu"), torch.randn(6, 7, 3)),
}
LOSS = nn.CrossEntropyLoss()
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1])


def identity(loss: Tensor) -> Tensor:
    return loss


class Calls:
    """An observer that notes the operations that run, and those with a backward pass."""

    def __init__(self) -> None:
        self.forward: list[Call] = []
        self.backward: list[Call] = []

    def after_forward(self, entry: Any, values: Values, saved: Any) -> None:
        self.forward += [entry] * isinstance(entry, Call)

    def before_backward(self, entry: Any, upstream: Any, saved: Any) -> None:
        self.has_gradient = any(each is not None for each in upstream) and saved is not None

    def after_backward(self, entry: Any, gradients: Gradients) -> None:
        self.backward += [entry] * (isinstance(entry, Call) and self.has_gradient)


def built(name: str) -> tuple[torch.nn.Module, Tensor]:
    torch.manual_seed(0)
    return MODELS[name]()


@cache
def operations(name: str) -> list[tuple[str, str, str, int]]:
    """Return pass, layer, operation and place in the layer of everything that the loss reads."""
    model, x = built(name)
    seen = Calls()
    run = observed_run(model, LOSS, (x,), (TARGETS,), seen)
    run.forward()
    run.loss()
    run.backward(identity)
    return [
        (direction, call.layer, call.operation.name, [c.layer for c in calls[:n]].count(call.layer))
        for direction, calls in (("forward", seen.forward), ("backward", seen.backward))
        for n, call in enumerate(calls)
        if any(call is each for each in seen.backward)
    ]


class Poison:
    """Puts a value into what one call computes, the one of a layer that is counted out."""

    def __init__(self, direction: str, layer: str, skipped: int, value: float) -> None:
        self.direction, self.layer, self.skipped, self.value = direction, layer, skipped, value

    def due(self, call: Call) -> bool:
        """Tell whether this is the call."""
        if call.layer != self.layer:
            return False
        self.skipped -= 1
        return self.skipped == -1

    def install(self, patch: pytest.MonkeyPatch) -> None:
        forward, backward = Call.forward, Call.backward

        def forward_poisoned(call: Call, values: Values) -> Any:
            saved = forward(call, values)
            if self.direction == "forward" and self.due(call):
                self.spoil(values, call.outputs)
            return saved

        def backward_poisoned(call: Call, gradients: Gradients, saved: Any) -> None:
            reached = any(n is not None and gradients[n] is not None for n in call.outputs)
            backward(call, gradients, saved)
            if self.direction == "backward" and reached and saved is not None and self.due(call):
                self.spoil(gradients, call.reads)

        patch.setattr(Call, "forward", forward_poisoned)
        patch.setattr(Call, "backward", backward_poisoned)

    def spoil(self, values: Any, numbers: Any) -> None:
        """Fill what was computed: a single number may be masked by a relu or a dropout."""
        for number in {n for n in numbers if n is not None and is_float(values[n])}:
            values[number] = torch.full_like(values[number], self.value)


def is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def find(model: torch.nn.Module, *inputs: Any, loss: Any = LOSS) -> Finding | None:
    return first_non_finite(model, loss, [Part(inputs, (TARGETS,), identity)])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", MODELS)
def test_a_number_planted_in_any_operation_is_named(
    name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = []
    for direction, layer, operation, skipped in operations(name):
        model, x = built(name)
        with monkeypatch.context() as patch:
            Poison(direction, layer, skipped, value).install(patch)
            found = find(model, x)
        named = found and (found.place, found.layer, found.operation)
        if named != (direction, layer, operation):
            wrong.append(((direction, layer, operation), found and found.lines))
    assert wrong == []
    directions = [direction for direction, *_ in operations(name)]
    assert min(map(directions.count, ("forward", "backward"))) >= 5


def test_a_finite_step_has_none() -> None:
    for name in MODELS:
        model, x = built(name)
        assert find(model, x) is None
        assert all(parameter.grad is None for parameter in model.parameters())


def test_the_operation_that_overflows_is_named_with_the_ranges_of_what_it_read() -> None:
    model, x = built("mlp")
    model.linear2.weight.data.fill_(3e38)
    found = find(model, x)
    assert found is not None
    assert (found.place, found.layer, found.operation) == ("forward", "linear2", "linear")
    assert found.tensor.name == "the output of linear2"
    assert {seen.name for seen in found.inputs} == {"the output of dropout1", "linear2.weight"}
    weight = next(seen for seen in found.inputs if seen.name == "linear2.weight")
    assert (weight.range.low, weight.range.high) == (pytest.approx(3e38), pytest.approx(3e38))
    names = [seen.name for seen in found.before]
    assert names == ["the output of dropout1", "the output of relu1", "the output of norm1"]
    assert all(seen.range.is_finite for seen in found.before)


def test_a_cast_that_overflows_is_named_by_what_it_casts() -> None:
    model, x = torch.nn.Sequential(nn.Flatten(), nn.Linear(128, 4)), built("mlp")[1]
    model[1].weight.data[3, 7] = 1e6
    part = Part((x,), (TARGETS,), identity)
    found = first_non_finite(
        model, LOSS, [part], lambda: torch.autocast("cpu", dtype=torch.float16)
    )
    assert found is not None
    assert (found.place, found.layer, found.operation) == ("forward", "1", "aten._to_copy")
    assert found.tensor.name == "1.weight as float16"
    assert found.tensor.range.first == (3, 7)
    assert "1 inf of 512, the first at [3, 7]; it read 1.weight in [-0.0" in found.sentence


def test_views_are_called_as_what_they_are_of() -> None:
    model, x = built("mlp")
    model.linear1.weight.data.fill_(3e38)
    found = find(model, x)
    assert found is not None
    assert (found.operation, found.layer) == ("linear", "linear1")
    assert found.inputs[0].name == "the batch's input"


def hooked_layers(name: str) -> list[str]:
    model, _ = built(name)
    return [name for name, layer in model.named_modules() if name and not any(layer.children())]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("name", MODELS)
def test_in_a_model_that_cannot_be_recorded_layer_and_pass_are_named(
    name: str, direction: str, value: float
) -> None:
    for layer in hooked_layers(name):
        model, x = built(name)
        x.requires_grad_()
        module = model.get_submodule(layer)

        def spoil(tensor: Tensor) -> Tensor:
            return torch.full_like(tensor, value)

        def forward(module: Any, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):  # of the lstm, as the loss reads the last state
                return output[0], tuple(map(spoil, output[1]))
            return spoil(output) + 0 * output

        def backward(module: Any, inputs: Any) -> None:
            inputs[0].register_hook(spoil)

        if direction == "forward":
            module.register_forward_hook(forward)
        else:
            module.register_forward_pre_hook(backward)
        found = find(model, x)
        assert found is not None, layer
        assert (found.place, found.layer, found.operation) == (direction, layer, "")


class Doubled(torch.nn.Module):
    """What the tape has no rule for."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(self.first(x) * 2)
        return output


def test_such_a_model_names_batch_and_weights_too() -> None:
    model, x, y = Doubled(), torch.randn(6, 3), torch.randn(6, 2)
    part = Part((x,), (y,), identity)
    assert first_non_finite(model, nn.MSELoss(), [part]) is None
    model.last.bias.data[1] = float("nan")
    found = first_non_finite(model, nn.MSELoss(), [part])
    assert found is not None
    assert (found.place, found.layer, found.tensor.name) == ("state", "last", "last.bias")
    x[2, 1] = float("inf")
    found = first_non_finite(model, nn.MSELoss(), [part])
    assert found is not None
    assert (found.place, found.layer, found.tensor.range.first) == ("batch", "first", (2, 1))


@pytest.mark.parametrize("kind", ["nan", "-inf"])
def test_a_batch_with_such_a_number_is_named_with_its_place(kind: str) -> None:
    model, x = built("lstm")
    x[3, 5, 1] = float(kind)
    found = find(model, x)
    assert found is not None
    assert (found.place, found.tensor.name) == ("batch", "the batch's input")
    assert found.tensor.range.first == (3, 5, 1)
    assert (found.layer, found.operation) == ("lstm", "bptt")


def test_a_target_with_such_a_number_is_named() -> None:
    model, y = torch.nn.Sequential(nn.Linear(3, 2)), torch.zeros(6, 2)
    y[4, 1] = float("nan")
    found = first_non_finite(model, nn.MSELoss(), [Part((torch.randn(6, 3),), (y,), identity)])
    assert found is not None
    assert (found.place, found.tensor.name) == ("batch", "the batch's target")
    assert found.tensor.range.first == (4, 1)


def test_a_weight_that_held_it_before_the_step_is_named() -> None:
    model, x = built("cnn")
    model.output.weight.data[2, 3] = float("inf")
    found = find(model, x)
    assert found is not None
    assert (found.place, found.tensor.name) == ("state", "output.weight")
    assert found.tensor.range.first == (2, 3)


def test_the_running_statistics_that_a_step_poisons_are_not_taken_for_its_cause() -> None:
    model, x = built("mlp")
    x[0, 0, 0, 0] = float("inf")
    first = find(model, x)
    assert find(model, x) == first  # now with NaN in them
    assert first is not None
    assert first.place == "batch"


def test_of_accumulated_batches_the_one_is_searched_that_is_not_finite() -> None:
    model, x = built("mlp")
    bad = torch.full_like(x, float("nan"))
    finite = Part((x,), (TARGETS,), identity)
    ignored = Part((bad,), (TARGETS,), None)
    assert first_non_finite(model, LOSS, [finite, ignored]) is None
    found = first_non_finite(model, LOSS, [finite, Part((bad,), (TARGETS,), identity)])
    assert found is not None
    assert found.place == "batch"


class Branches(torch.nn.Module):
    """A value that two layers read; the second runs backward first. A mask is added to one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two, self.add = nn.Linear(3, 4), nn.Tanh(), nn.Sigmoid(), nn.Add()

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        output: Tensor = self.add(self.one(stem), self.two(stem))
        return output


@pytest.mark.parametrize("layers", [["two"], ["one"], ["one", "two"]])
def test_of_several_readers_the_one_that_was_first_not_finite_is_named(
    layers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model, x = Branches(), torch.randn(6, 3)
    for layer in layers:
        Poison("backward", layer, 0, float("nan")).install(monkeypatch)
    found = find(model, x)
    assert found is not None
    assert (found.place, found.layer) == ("backward", layers[-1])


class Halves(torch.nn.Module):
    """Two layers that read the input; the second runs backward first."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.add = nn.Linear(3, 4), nn.Linear(3, 4), nn.Add()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.add(self.one(x), self.two(x))
        return output


def test_of_two_causes_the_first_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in ("one", "two"):
        Poison("backward", layer, 0, float("nan")).install(monkeypatch)
    found = find(Halves(), torch.randn(6, 3))
    assert found is not None
    assert (found.place, found.layer) == ("backward", "two")


def test_a_mask_of_minus_infinity_is_not_taken_for_the_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    mask = torch.full((5, 5), float("-inf")).triu(1)

    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.attention = nn.Linear(4, 4), nn.MultiheadAttention(4, 1)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            x = self.linear(x)
            output: Tensor = self.attention(x, x, x, need_weights=False, attn_mask=mask)[0]
            return output

    model, x, y = Masked(), torch.randn(5, 2, 4), torch.randn(5, 2, 4)
    part = Part((x, mask), (y,), identity)
    assert first_non_finite(model, nn.MSELoss(), [part]) is None
    Poison("forward", "linear", 0, float("nan")).install(monkeypatch)
    found = first_non_finite(model, nn.MSELoss(), [part])
    assert found is not None
    assert (found.place, found.layer) == ("forward", "linear")


def test_a_buffer_that_the_step_changes_is_named_if_it_was_not_finite_before() -> None:
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)
            self.weight: Tensor
            self.register_buffer("weight", torch.tensor([[1.0, float("nan"), 1.0, 1.0]] * 4))

        def forward(self, x: Tensor) -> Tensor:
            self.weight.add_(1)
            return linear(self.linear(x), self.weight)

    found = find(Counting(), torch.randn(6, 3))
    assert found is not None
    assert (found.place, found.tensor.name) == ("state", "weight")
    assert found.tensor.range.first == (0, 1)


@pytest.mark.parametrize("model", [torch.nn.Sequential(nn.Linear(3, 2)), Doubled()])
def test_a_gradient_whose_norm_alone_overflows_is_named(model: torch.nn.Module) -> None:
    part = Part((torch.ones(6, 3),), (torch.full((6, 2), 1e25),), lambda loss: loss * 1e-4)
    found = first_non_finite(model, nn.L1Loss(), [part])
    assert found is None
    found = first_non_finite(
        model, nn.L1Loss(), [part._replace(minimized=lambda loss: loss * 1e25)]
    )
    assert found is not None
    assert (found.place, found.operation) == ("backward", "norm")
    assert found.inputs[0].range.is_finite
