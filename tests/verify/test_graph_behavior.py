"""How an operation behaves in a graph: its memory, its work, and the layouts it is handed."""

from collections.abc import Callable

import pytest
import torch
from cases import CASES
from cases.case import Case, differentiated
from every_case import MOST, SMOOTH, every_case, every_device
from graphs import foreign_nodes, nodes_behind
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import GRADIENT, differentiable, outcomes, upstream


def same(mine: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12, equal_nan=True)


def run(case: Case, tensors: Tensors, names: list[str] | None = None) -> Tensors:
    return outcomes(
        case.ours, tensors, differentiated(case, tensors) if names is None else names, 1
    )


def names_drawn(case: Case) -> list[str]:
    return differentiated(case, case.draw(torch.float64, "cpu"))


@MOST
def test_inputs_are_never_modified(case: Case) -> None:
    tensors = case.draw(torch.float64, "cpu")
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    run(case, tensors)
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


@MOST
def test_any_subset_of_gradients_equals_the_whole(case: Case) -> None:
    tensors = case.draw(torch.float64, "cpu")
    whole = run(case, tensors)
    for name in differentiated(case, tensors):
        if GRADIENT + name in whole:
            same(run(case, tensors, [name])[GRADIENT + name], whole[GRADIENT + name])


@every_case(
    [case for case in CASES if len(differentiated(case, case.draw(torch.float64, "cpu"))) > 1]
)
def test_a_gradient_that_is_not_needed_is_not_computed(case: Case) -> None:
    tensors = case.draw(torch.float64, "cpu")
    names = differentiated(case, tensors)
    whole = elements_made_backward(case, tensors, names)
    alone = [elements_made_backward(case, tensors, [name]) for name in names]
    if case.at_once:
        return
    assert max(alone) <= whole
    if any(tensors[name].numel() for name in names):
        assert min(alone) < whole or whole == 0  # views of the upstream gradient cost nothing


def elements_made_backward(case: Case, tensors: Tensors, names: list[str]) -> int:
    """Run a backward pass, check that no unneeded gradient is returned, count what it makes."""
    leaves = {k: v.detach().requires_grad_(k in names) for k, v in tensors.items()}
    outputs = differentiable(case.ours(leaves))
    if not outputs:
        return 0

    def no_more_than_asked(node: torch.autograd.graph.Node) -> Callable[..., None]:
        asked = [following is not None for following, _ in node.next_functions]

        def check(grad_inputs: tuple[Tensor | None, ...], _: object) -> None:
            unasked = [g for g, is_asked in zip(grad_inputs, asked, strict=False) if not is_asked]
            assert all(gradient is None for gradient in unasked), node.name()

        return check

    for node in nodes_behind(outputs.values()):
        if node.name() != "torch::autograd::AccumulateGrad":
            node.register_hook(no_more_than_asked(node))
    upstream_grads = list(upstream(outputs, 1).values())
    with Counting() as counting:
        torch.autograd.backward(list(outputs.values()), upstream_grads)
    return counting.elements


class Counting(TorchDispatchMode):
    """Counts the elements of every tensor that an operation makes anew."""

    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        result = function(*arguments, **(options or {}))
        if not function.is_view:
            made = result if isinstance(result, tuple | list) else (result,)
            self.elements += sum(each.numel() for each in made if isinstance(each, Tensor))
        return result


@MOST
def test_every_node_of_the_graph_is_ours_or_a_view(case: Case) -> None:
    tensors = case.draw(torch.float64, "cpu")
    names = differentiated(case, tensors)
    leaves = {k: v.detach().requires_grad_(k in names) for k, v in tensors.items()}
    assert foreign_nodes(differentiable(case.ours(leaves)).values()) == set()


@SMOOTH
def test_nothing_is_saved_that_no_gradient_reads(case: Case) -> None:
    tensors = case.draw(torch.float64, "cpu")
    names = differentiated(case, tensors)
    for subset in [names, *([name] for name in names)] if len(names) > 1 else [names]:
        whole = run(case, tensors, subset)
        if not any(name.startswith(GRADIENT) and whole[name].any() for name in whole):
            continue
        for number, saved in enumerate(saved_by(case, tensors, subset)):
            if can_be_corrupted(saved):
                assert corruption_shows(case, tensors, subset, number, whole), (
                    f"for the gradients of {subset}, saved tensor {number} of shape "
                    f"{list(saved.shape)} and dtype {saved.dtype} is read by none"
                )


def saved_by(case: Case, tensors: Tensors, names: list[str]) -> list[Tensor]:
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    leaves = {k: v.detach().requires_grad_(k in names) for k, v in tensors.items()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        case.ours(leaves)
    return saved


def can_be_corrupted(tensor: Tensor) -> bool:
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        return tensor.numel() > 0
    return tensor.numel() > 0 and int(tensor.max()) > 0


def corrupted(tensor: Tensor, filling: float) -> Tensor:
    if tensor.is_floating_point():
        return torch.full_like(tensor, filling)
    return ~tensor if tensor.dtype == torch.bool else (tensor + 1) % (tensor.max() + 1)


def corruption_shows(
    case: Case, tensors: Tensors, names: list[str], number: int, whole: Tensors
) -> bool:
    """Tell whether NaN, 0 or 1 in a saved tensor's place change a gradient."""
    return any(
        gradients_differ(run_with_corrupted(case, tensors, names, number, filling), whole)
        for filling in (torch.nan, 0.0, 1.0)
    )


def run_with_corrupted(
    case: Case, tensors: Tensors, names: list[str], number: int, filling: float
) -> Tensors:
    count = -1

    def pack(tensor: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return corrupted(tensor, filling) if count == number else tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        return run(case, tensors, names)


def gradients_differ(found: Tensors, whole: Tensors) -> bool:
    return any(
        not torch.equal(found[name].nan_to_num(nan=1e9), whole[name].nan_to_num(nan=1e9))
        for name in whole
        if name.startswith(GRADIENT)
    )


@MOST
def test_strided_inputs_give_the_same(case: Case) -> None:
    tensors = case.draw(torch.float64, "cpu")
    apart = {
        name: torch.stack([tensor, torch.full_like(tensor, 7)], -1)[..., 0]
        if name in differentiated(case, tensors)
        else tensor
        for name, tensor in tensors.items()
    }
    for name, tensor in run(case, apart).items():
        same(tensor, run(case, tensors)[name])


@MOST
def test_expanded_inputs_give_the_same(case: Case) -> None:
    tensors = case.draw(torch.float64, "cpu")
    shared = {
        name: tensor[:1].expand_as(tensor)
        if name in differentiated(case, tensors) and tensor.dim() > 1 and len(tensor) > 0
        else tensor
        for name, tensor in tensors.items()
    }
    own = {name: tensor.clone() for name, tensor in shared.items()}
    for name, tensor in run(case, shared).items():
        same(tensor, run(case, own)[name])


def first(tensors: Tensors) -> tuple[str, Tensor]:
    """Return what torch calls input, or input1, or anchor, with its name."""
    return next(iter(tensors.items()))


@every_device
@every_case([case for case in CASES if first(case.draw(torch.float64, "cpu"))[1].dim() == 4])
def test_channels_last_stays_where_torch_keeps_it(case: Case, device: str) -> None:
    if case.random and device != "cpu":
        pytest.skip("torch's CUDA kernels draw their masks in another order")
    tensors = case.draw(torch.float64, device)
    name, tensor = first(tensors)
    tensors[name] = tensor.to(memory_format=torch.channels_last)
    ours, reference = (
        outcomes(f, tensors, differentiated(case, tensors), 1) for f in (case.ours, case.expected)
    )
    for name, theirs in reference.items():
        same(ours[name], theirs)
        if theirs.dim() == 4 and theirs.is_contiguous(memory_format=torch.channels_last):
            assert ours[name].is_contiguous(memory_format=torch.channels_last), name
