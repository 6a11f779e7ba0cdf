"""Modules against torch.nn's: the same in everything but the backward pass."""

import inspect

import pytest
import torch
from torch import Tensor

from bptrain import nn
from bptrain.verify.cases import MODULES, Inputs, ModuleCase

every_case = pytest.mark.parametrize("case", MODULES, ids=lambda case: f"{case.module}: {case.why}")


def pair(case: ModuleCase) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return our module and torch's, each built from the same random state."""
    made = []
    for kind in (case.ours, case.twin):
        torch.manual_seed(0)
        made.append(kind(**case.options).double())
    return made[0], made[1]


def arguments_of(case: ModuleCase) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return case.arguments(Inputs(generator, torch.float64, torch.device("cpu")))


@every_case
def test_initialisation_repr_and_state_dict_are_torchs(case: ModuleCase) -> None:
    ours, twin = pair(case)
    assert repr(ours) == repr(twin)
    assert list(ours.state_dict()) == list(twin.state_dict())
    for mine, theirs in zip(ours.state_dict().values(), twin.state_dict().values(), strict=True):
        assert mine.equal(theirs)


@every_case
def test_state_dicts_load_both_ways(case: ModuleCase) -> None:
    ours, twin = pair(case)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)
    twin.load_state_dict(ours.state_dict())
    ours.load_state_dict(twin.state_dict())
    for mine, theirs in zip(ours.parameters(), twin.parameters(), strict=True):
        assert mine.equal(theirs)


@every_case
def test_output_and_parameter_gradients_are_torchs(case: ModuleCase) -> None:
    outcomes = []
    for module in pair(case):
        tensors = arguments_of(case)
        tensors["input"].requires_grad_()
        output = module(**tensors)
        upstream = torch.randn(
            output.shape, generator=torch.Generator().manual_seed(2), dtype=output.dtype
        )
        output.backward(upstream)
        gradients = [tensors["input"].grad, *(p.grad for p in module.parameters())]
        outcomes.append([output.detach(), *gradients])
    for mine, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


@every_case
def test_every_node_of_the_graph_is_ours_or_a_view(case: ModuleCase) -> None:
    module, _ = pair(case)
    tensors = arguments_of(case)
    tensors["input"].requires_grad_()
    for name in nodes_of(module(**tensors)):
        assert name.endswith(("FunctionBackward", "AccumulateGrad", "SqueezeBackward0")), name


def nodes_of(output: Tensor) -> set[str]:
    names, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.add(node.name())
            waiting += [following for following, _ in node.next_functions]
    return names


@pytest.mark.parametrize("name", nn.__all__)
def test_constructors_take_torchs_arguments(name: str) -> None:
    ours, twin = (inspect.signature(getattr(kind, name)) for kind in (nn, torch.nn))
    assert list(ours.parameters) == list(twin.parameters)
    for mine, theirs in zip(ours.parameters.values(), twin.parameters.values(), strict=True):
        assert mine.default == theirs.default


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: nn.ReLU(inplace=True), "inplace"),
        (lambda: nn.MSELoss(size_average=True), "size_average"),
        (lambda: nn.CrossEntropyLoss(reduce=False), "reduce"),
    ],
)
def test_an_option_that_is_not_offered_is_named(make: object, option: str) -> None:
    with pytest.raises(NotImplementedError, match=option):
        make()
