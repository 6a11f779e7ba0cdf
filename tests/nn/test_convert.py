"""`convert` gives a model bptrain.nn's layers, `to_torch` torch.nn's; nothing else changes."""

import copy
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from case_groups import every_case
from cases import MODULES, REFUSED
from cases.case import ModuleCase, Refusal
from torch import Tensor
from torch.nn.utils import parametrizations, prune

import bptrain
from bptrain import nn
from bptrain.nn.conversion import Conversion

X = torch.randn(6, 3, 8, 8)


def torch_model() -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, bias=False),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(inplace=True),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.25),
        torch.nn.Linear(4, 4),
    )


def gradients(model: torch.nn.Module, *inputs: Tensor) -> list[Tensor | None]:
    """Return the gradient by each parameter, for a loss with random upstream gradients."""
    torch.manual_seed(1)
    model.zero_grad()
    output = model(*inputs)
    output = output[0] if isinstance(output, tuple) else output
    torch.autograd.backward(output, torch.randn_like(output))
    return [parameter.grad for parameter in model.parameters()]


def assert_same_gradients(model: torch.nn.Module, reference: torch.nn.Module, *x: Tensor) -> None:
    ours, theirs = gradients(model, *x), gradients(reference, *x)
    assert any(each is not None and each.any() for each in theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@every_case([c for c in MODULES if c.reference is None])
def test_each_layer_becomes_ours_and_torchs_again(case: ModuleCase) -> None:
    layer = case.build(case.torch_class)
    written, held = repr(layer), dict(vars(layer))
    assert bptrain.convert(layer) is layer
    assert type(layer) is case.our_class
    assert vars(layer).keys() == vars(case.build(case.our_class)).keys()
    assert bptrain.conversion(layer) == Conversion(ours={"": case.module})
    assert bptrain.to_torch(layer) is layer
    assert type(layer) is case.torch_class
    assert repr(layer) == written
    assert all(vars(layer)[name] is value for name, value in held.items())


def test_sums_and_concatenations_have_a_counterpart_of_their_own() -> None:
    model = torch.nn.ModuleList([nn.Add(), nn.Concat(0)])
    bptrain.to_torch(model)
    assert not bptrain.conversion(model).ours
    assert model[1](X, X).shape == (12, 3, 8, 8)
    bptrain.convert(model)
    assert [type(each) for each in model] == [nn.Add, nn.Concat]
    assert model[1](X, X).shape == (12, 3, 8, 8)


@pytest.mark.filterwarnings("ignore:.*will be deprecated:UserWarning")
@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
@pytest.mark.parametrize("refusal", REFUSED, ids=lambda each: f"{each.module}: {each.option}")
def test_an_option_that_is_not_offered_keeps_a_layer_torchs(refusal: Refusal) -> None:
    kind = getattr(torch.nn, refusal.module)
    layer = bptrain.convert(kind(**refusal.options))
    stays = refusal.option in ("sparse", "mode")  # torch itself translates the deprecated ones
    assert (type(layer) is kind) is stays
    assert any(refusal.option in why for why in bptrain.conversion(layer).left.values()) is stays


def test_gradients_and_running_statistics_are_those_of_torch() -> None:
    model = torch_model()
    reference = copy.deepcopy(model)
    assert_same_gradients(bptrain.convert(model), reference, X)
    torch.testing.assert_close(model.state_dict(), reference.state_dict())
    assert_same_gradients(bptrain.to_torch(model), reference, X)


def test_an_optimizer_that_was_made_before_trains_the_model() -> None:
    model = torch_model()
    reference = copy.deepcopy(model)
    optimizers = [torch.optim.Adam(each.parameters(), lr=0.1) for each in (model, reference)]
    bptrain.convert(model)
    for _ in range(3):
        for each, optimizer in zip((model, reference), optimizers, strict=True):
            gradients(each, X)
            optimizer.step()
    torch.testing.assert_close(model.state_dict(), reference.state_dict(), rtol=1e-3, atol=1e-4)


def test_tied_weights_and_shared_layers_stay_so() -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = torch.nn.Embedding(7, 4), torch.nn.Linear(4, 7, bias=False)
            self.head.weight = self.embedding.weight
            self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4)] * 2)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.head(self.layers[1](self.layers[0](self.embedding(x))))
            return output

    model = Tied()
    reference = copy.deepcopy(model)
    words = torch.randint(0, 7, (3, 5))
    assert_same_gradients(bptrain.convert(model), reference, words)
    assert model.head.weight is model.embedding.weight
    assert model.layers[0] is model.layers[1]
    assert list(bptrain.conversion(model).ours) == ["embedding", "head", "layers.0"]


def test_mode_dtype_and_what_is_trained_are_kept() -> None:
    model = torch_model().double().eval()
    model[0].weight.requires_grad_(False)
    bptrain.convert(model)
    assert not any(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()][:2] == [False, True]
    assert model(X.double()).dtype == torch.float64


def test_hooks_are_called_as_before() -> None:
    model, called = torch_model(), []
    model[0].register_forward_pre_hook(lambda *_: called.append("before"))
    model[0].register_forward_hook(lambda *_: called.append("after"))
    model[6].register_full_backward_hook(lambda *_: called.append("backward"))
    model[6].weight.register_hook(lambda _: called.append("weight"))
    gradients(bptrain.convert(model), X)
    assert sorted(called) == ["after", "backward", "before", "weight"]


def by_hooks(layer: torch.nn.Module) -> torch.nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return torch.nn.utils.weight_norm(layer)


RECOMPUTED = {  # a hook or a parametrization computes the weight anew in each pass
    "weight_norm by a hook": by_hooks,
    "pruning": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    "spectral_norm by a hook": torch.nn.utils.spectral_norm,
    "weight_norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
}


@pytest.mark.parametrize("change", RECOMPUTED.values(), ids=RECOMPUTED)
def test_a_weight_that_is_computed_keeps_its_gradients(
    change: Callable[[torch.nn.Module], torch.nn.Module],
) -> None:
    def make() -> torch.nn.Sequential:
        torch.manual_seed(0)
        return torch.nn.Sequential(change(torch.nn.Linear(4, 4)), torch.nn.Tanh())

    model, reference = make(), make()
    assert_same_gradients(bptrain.convert(model), reference, torch.randn(3, 4))
    by_a_hook = bool(model[0]._forward_pre_hooks)
    assert (type(model[0]) is nn.Linear) is by_a_hook
    left = bptrain.conversion(model).left
    assert list(left)[:1] == ([] if by_a_hook else ["0"])
    assert all("parametrization" in left["0"] for _ in left)


class OwnForward(torch.nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


class OwnName(torch.nn.Conv2d):
    """May override any method that torch's forward calls, such as _conv_forward."""


class OursWithOwnName(nn.Linear):
    pass


class OursWithOwnForward(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


def replaced_forward() -> torch.nn.Module:
    layer = torch.nn.Linear(2, 2)
    layer.forward = lambda x: x  # type: ignore[method-assign]
    return layer


LEFT = {
    "its own forward": (lambda: OwnForward(2, 2), "OwnForward: a subclass of torch.nn.Linear"),
    "its own name": (lambda: OwnName(2, 2, 1), "OwnName: a subclass of torch.nn.Conv2d"),
    "a forward on the object": (
        replaced_forward,
        "Linear: its forward was replaced on the object",
    ),
    "lazy": (
        lambda: torch.nn.LazyLinear(2),
        "LazyLinear: its shapes are not known: run a batch, then convert",
    ),
    "complex": (
        lambda: torch.nn.Linear(2, 2, dtype=torch.complex64),
        "Linear: its parameters are complex",
    ),
    "torch's alone": (
        lambda: torch.nn.Threshold(0, 0),
        "Threshold: bptrain.nn has none of its own",
    ),
    "torch's alone, of one that we have": (
        lambda: torch.nn.UpsamplingNearest2d(2),
        "UpsamplingNearest2d: bptrain.nn has none of its own",
    ),
}


@pytest.mark.parametrize(("make", "why"), LEFT.values(), ids=LEFT)
def test_what_cannot_be_converted_is_left_and_listed(
    make: Callable[[], torch.nn.Module], why: str
) -> None:
    model = torch.nn.Sequential(make())
    kind = type(model[0])
    bptrain.convert(model)
    assert type(model[0]) is kind
    assert bptrain.conversion(model) == Conversion(left={"0": why})


def test_modules_with_code_of_their_own_are_listed() -> None:
    model = torch.nn.ModuleDict(
        {
            "layer": torch.nn.TransformerEncoderLayer(4, 2, 4),
            "ours": OursWithOwnForward(2, 2),
            "named": OursWithOwnName(2, 2),
            "same": torch.nn.Identity(),
            "numbers": torch.nn.ParameterList([torch.ones(2)]),
        }
    )
    found = bptrain.conversion(bptrain.convert(model))
    assert found.code == {"layer": "TransformerEncoderLayer", "ours": "OursWithOwnForward"}
    assert found.ours["named"] == "OursWithOwnName"
    assert found.ours["layer.self_attn"] == "MultiheadAttention"
    assert not found.left


def test_the_report_says_what_is_not_converted_yet() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), nn.Tanh(), nn.Tanh())
    assert str(bptrain.conversion(model)) == (
        "layers of bptrain.nn: 2 Tanh\nlayers that stay torch's:\n  0  Linear: not converted"
    )
    one = torch.nn.LazyLinear(2)
    assert "the model  LazyLinear" in str(bptrain.conversion(one))


def test_a_lazy_layer_is_converted_once_its_shapes_are_known() -> None:
    model = torch.nn.Sequential(torch.nn.LazyLinear(2))
    model(torch.randn(3, 5))
    assert type(bptrain.convert(model)[0]) is nn.Linear


def test_an_in_place_layer_writes_into_its_input_as_before() -> None:
    # what else reads the values before the activation reads what torch.nn's layer leaves there
    class Reads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.relu = torch.nn.Linear(4, 4), torch.nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            before = self.linear(x)
            after: Tensor = self.relu(before)
            return after + 10 * before

    model = Reads()
    reference = copy.deepcopy(model)
    x = torch.randn(3, 4)
    assert_same_gradients(bptrain.convert(model), reference, x)
    torch.testing.assert_close(model(x), reference(x))


def test_a_loss_is_converted_too() -> None:
    loss = bptrain.convert(torch.nn.CrossEntropyLoss(torch.ones(4), label_smoothing=0.1))
    assert type(loss) is nn.CrossEntropyLoss
    assert loss.weight is not None


def test_recurrent_layers_go_back_and_forth() -> None:
    layer = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    reference, x = copy.deepcopy(layer), torch.randn(5, 2, 3)
    assert_same_gradients(bptrain.convert(layer), reference, x)
    assert_same_gradients(bptrain.to_torch(layer), reference, x)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, not dict"):
        bptrain.convert({})


def test_importing_the_package_does_not_import_torch() -> None:
    code = (
        "import bptrain, sys; assert 'torch' not in sys.modules; assert 'convert' in dir(bptrain); "
        "assert not hasattr(bptrain, 'unknown'); bptrain.convert; assert 'torch' in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
