"""Modules against torch.nn's: the same in everything but the backward pass."""

import copy
import inspect
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from case_groups import every_case
from cases import MODULES, REFUSED
from cases.case import ModuleCase, Refusal
from torch._dynamo import config as dynamo
from torch._inductor import config as inductor

from bptrain import nn
from bptrain.verify.named_tensors import PARAMETER, Tensors, named
from bptrain.verify.parity import GRADIENT, differentiable, upstream

EVERY = every_case(MODULES)


def pair(case: ModuleCase) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return our module and torch's, each built from the same random state, in float64."""
    return case.build(case.our_class).double(), case.build(case.torch_class).double()


def inputs_of(case: ModuleCase, dtype: torch.dtype = torch.float64) -> Tensors:
    drawn = case.draw(dtype, "cpu")
    return {name: each for name, each in drawn.items() if not name.startswith(PARAMETER)}


def outputs_of(case: ModuleCase, module: torch.nn.Module, inputs: Tensors) -> Tensors:
    torch.manual_seed(0)
    return named("output", case.call(module, inputs))


@EVERY
def test_initialization_repr_and_state_dict_are_torchs(case: ModuleCase) -> None:
    ours, reference = pair(case)
    assert repr(ours) == repr(reference)
    assert list(ours.state_dict()) == list(reference.state_dict())
    for mine, theirs in zip(
        ours.state_dict().values(), reference.state_dict().values(), strict=True
    ):
        assert mine.equal(theirs)


@EVERY
def test_state_dicts_load_both_ways(case: ModuleCase) -> None:
    ours, reference = pair(case)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)
    reference.load_state_dict(ours.state_dict())
    ours.load_state_dict(reference.state_dict())
    for mine, theirs in zip(ours.parameters(), reference.parameters(), strict=True):
        assert mine.equal(theirs)


@EVERY
def test_a_module_used_twice_in_a_graph_accumulates_both_gradients(case: ModuleCase) -> None:
    first = inputs_of(case)
    second = {k: v * 0.5 if v.is_floating_point() else v for k, v in first.items()}
    accumulated = []
    for module in pair(case):
        outputs = named("", [outputs_of(case, module, each) for each in (first, second)])
        outputs = differentiable(outputs)
        if not outputs:
            return  # without parameters nothing is accumulated
        torch.autograd.backward(list(outputs.values()), list(upstream(outputs, 1).values()))
        accumulated.append([parameter.grad for parameter in module.parameters()])
    for mine, theirs in zip(*accumulated, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


@EVERY
def test_a_deep_copy_is_complete_and_independent(case: ModuleCase) -> None:
    module, _ = pair(case)
    before = {name: each.clone() for name, each in module.state_dict().items()}
    reference = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert repr(reference) == repr(module)
    for name, each in reference.state_dict().items():
        assert each.equal(before[name])
    assert outputs_of(case, reference, inputs_of(case))


def differentiated_inputs(case: ModuleCase) -> list[str]:
    """Return the names of the inputs that have a gradient: none where all are indices."""
    drawn = inputs_of(case)
    return [k for k, v in drawn.items() if v.is_floating_point() and k not in case.constants]


@every_case([c for c in MODULES if differentiated_inputs(c) and not c.is_packed])
def test_hooks_see_the_pass_forward_and_backward(case: ModuleCase) -> None:
    module, _ = pair(case)
    seen = []
    module.register_forward_hook(lambda *_: seen.append("forward"))
    module.register_full_backward_hook(lambda *_: seen.append("backward"))
    names = differentiated_inputs(case)
    inputs = {k: v.requires_grad_(k in names) for k, v in inputs_of(case).items()}
    outputs = differentiable(outputs_of(case, module, inputs))
    torch.autograd.backward(list(outputs.values()), list(upstream(outputs, 1).values()))
    assert seen == ["forward", "backward"]


@every_case([c for c in MODULES if torch.float16 in c.dtypes])
def test_half_converts_the_whole_module(case: ModuleCase) -> None:
    ours, reference = (module.half() for module in pair(case))
    inputs = inputs_of(case, torch.float16)
    mine, theirs = (outputs_of(case, module, inputs) for module in (ours, reference))
    assert {k: v.dtype for k, v in mine.items()} == {k: v.dtype for k, v in theirs.items()}


@dynamo.patch(allow_rnn=True)  # as torch's own recurrent modules need it
def compiled_equals_eager(case: ModuleCase, backend: str, rtol: float = 1e-9) -> None:
    """Compile the module's pass as one graph, forward and backward, and compare the numbers."""
    torch._dynamo.reset()
    module, _ = pair(case)
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    found = []
    for each in (module, compiled):
        module.load_state_dict(case.build(case.our_class).double().state_dict())
        found.append(pass_of(case, module, each))
    eager, graph = found
    assert eager.keys() == graph.keys()
    for name, tensor in eager.items():
        torch.testing.assert_close(graph[name], tensor, rtol=rtol, atol=1e-12, equal_nan=True)
    assert any(name.startswith(GRADIENT) for name in graph)


def pass_of(case: ModuleCase, module: torch.nn.Module, run: torch.nn.Module) -> Tensors:
    """Return the outputs of `run`, `module` itself or compiled, and every gradient they give."""
    names = differentiated_inputs(case)
    leaves = {k: v.requires_grad_(k in names) for k, v in inputs_of(case).items()}
    outputs = outputs_of(case, run, leaves)
    differentiable_outputs = differentiable(outputs)
    module.zero_grad()
    torch.autograd.backward(
        list(differentiable_outputs.values()), list(upstream(differentiable_outputs, 1).values())
    )
    leaves |= {PARAMETER + name: each for name, each in module.named_parameters()}
    gradients = {GRADIENT + k: v.grad for k, v in leaves.items() if v.grad is not None}
    return {name: each.detach() for name, each in outputs.items()} | gradients


COMPILED = [case for case in MODULES if not case.is_packed]
# by default the first case of each of these: modules share how they meet the compiler
COMPILED_BY_DEFAULT = {
    *("Linear", "Conv2d", "MaxPool2d", "BatchNorm2d", "LayerNorm", "ReLU", "Dropout", "Embedding"),
    *("RNN", "GRUCell", "MultiheadAttention", "CrossEntropyLoss", "CTCLoss"),
}
every_compiled_case = pytest.mark.parametrize("case", COMPILED, ids=lambda case: case.label)


def some_compiled_cases() -> Iterator[Any]:
    """Yield the cases as parameters, all slow but the first of COMPILED_BY_DEFAULT."""
    left = set(COMPILED_BY_DEFAULT)
    for case in COMPILED:
        is_slow = case.module not in left
        left.discard(case.module)
        yield pytest.param(case, id=case.label, marks=pytest.mark.slow if is_slow else ())
    assert not left


@pytest.mark.parametrize("case", list(some_compiled_cases()))
def test_the_whole_pass_is_one_graph_to_the_compiler(case: ModuleCase) -> None:
    compiled_equals_eager(case, "aot_eager")


@pytest.mark.slow
@every_compiled_case
def test_compiled_code_gives_the_same_gradients(case: ModuleCase) -> None:
    # by default the compiler draws its random numbers from a stream of its own
    with inductor.patch(fallback_random=True):
        # its code for the kernel of hardsigmoid has 1/6 in float32, torch.nn's too
        compiled_equals_eager(case, "inductor", 1e-7 if case.module == "Hardsigmoid" else 1e-9)


@pytest.mark.parametrize("name", nn.__all__)
def test_constructors_take_torchs_arguments(name: str) -> None:
    reference = getattr(torch.nn, name, None)
    if reference is None:
        assert name in WITHOUT_COUNTERPART
        return
    mine, theirs = (parameters_of(kind) for kind in (getattr(nn, name), reference))
    assert list(mine) == list(theirs)
    for ours, torchs in zip(mine.values(), theirs.values(), strict=True):
        assert ours.default == torchs.default


def parameters_of(kind: type) -> dict[str, inspect.Parameter]:
    # torch's recurrent modules take *args; the first of their overloads says what these are
    declared = typing.get_overloads(kind.__init__)
    parameters = dict(inspect.signature(declared[0] if declared else kind.__init__).parameters)
    del parameters["self"]
    return parameters


WITHOUT_COUNTERPART = {
    "Add",
    "Concat",
    "DotProductAttention",
    "Mean",
    "Multiply",
    "Rotary",
}  # of functions that torch.nn has not


@pytest.mark.parametrize("refusal", REFUSED, ids=lambda each: f"{each.module}: {each.option}")
def test_an_option_that_is_not_offered_is_named(refusal: Refusal) -> None:
    with pytest.raises(NotImplementedError, match=refusal.option):
        getattr(nn, refusal.module)(**refusal.options)
