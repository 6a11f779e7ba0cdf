"""How an operation behaves in a graph: its memory, its work, and the layouts it is handed."""

from collections.abc import Callable

import pytest
import torch
from case_groups import every_case
from cases import CASES
from cases.case import Case, differentiated
from every_case import MOST, SMOOTH, drawn, every_device, sparing_modules, whole
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


@MOST
def test_inputs_are_never_modified_and_every_node_of_the_graph_is_ours_or_a_view(
    case: Case,
) -> None:
    tensors = case.draw(torch.float64, "cpu")
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    names = differentiated(case, tensors)
    leaves = {k: v.detach().requires_grad_(k in names) for k, v in tensors.items()}
    outputs = list(differentiable(case.ours(leaves)).values())
    assert foreign_nodes(outputs) == set()
    upstream_grads = [torch.randn_like(each) for each in outputs]
    if outputs:
        torch.autograd.backward(outputs, upstream_grads)
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


@MOST
def test_any_subset_of_gradients_equals_the_whole(case: Case) -> None:
    tensors, names = drawn(case)
    for name in names if len(names) > 1 else ():
        gradient = GRADIENT + name
        if gradient in whole(case):
            same(run(case, tensors, [name])[gradient], whole(case)[gradient])


@sparing_modules([case for case in CASES if len(drawn(case)[1]) > 1])
def test_a_gradient_that_is_not_needed_is_not_computed(case: Case) -> None:
    tensors, names = drawn(case)
    together = elements_made_backward(case, tensors, names)
    alone = [elements_made_backward(case, tensors, [name]) for name in names]
    if case.at_once:
        return
    assert max(alone) <= together
    if any(tensors[name].numel() for name in names):
        assert min(alone) < together or together == 0  # views of the upstream gradient cost nothing


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


@SMOOTH
def test_nothing_is_saved_that_no_gradient_reads(case: Case) -> None:
    _, names = drawn(case)
    for subset in [names, *([name] for name in names)] if len(names) > 1 else [names]:
        step = Step(case, subset)
        before = step.gradients()
        if not any(gradient.any() for gradient in before):
            continue
        for number, saved in enumerate(step.saved):
            if can_be_corrupted(saved) and not leads_out_of_the_plane(case, saved):
                assert corruption_shows(step, number, before), (
                    f"for the gradients of {subset}, saved tensor {number} of shape "
                    f"{list(saved.shape)} and dtype {saved.dtype} is read by none"
                )


class Step:
    """A forward pass whose backward pass runs many times, another saved tensor replaced in each."""

    def __init__(self, case: Case, names: list[str]) -> None:
        self.saved: list[Tensor] = []
        self.replaced: dict[int, Tensor] = {}
        tensors, _ = drawn(case)
        leaves = {k: v.detach().requires_grad_(k in names) for k, v in tensors.items()}
        with torch.autograd.graph.saved_tensors_hooks(self.pack, self.unpack):
            outputs = differentiable(case.ours(leaves))
        self.leaves = [leaves[name] for name in names]
        self.outputs, self.upstream = list(outputs.values()), list(upstream(outputs, 1).values())

    def pack(self, tensor: Tensor) -> int:
        self.saved.append(tensor.detach())
        return len(self.saved) - 1

    def unpack(self, number: int) -> Tensor:
        return self.replaced.get(number, self.saved[number])

    def gradients(self) -> list[Tensor]:
        found = torch.autograd.grad(
            self.outputs, self.leaves, self.upstream, retain_graph=True, allow_unused=True
        )
        return [each for each in found if each is not None]


def leads_out_of_the_plane(case: Case, saved: Tensor) -> bool:
    """Tell whether another distance of a winner than its own may lie in the padding."""
    options = getattr(case, "options", {})
    is_distance = saved.dtype == torch.uint8 and case.label.startswith("relu_max_pool2d")
    return is_distance and bool(options.get("padding") or options.get("ceil_mode"))


def can_be_corrupted(tensor: Tensor) -> bool:
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        return tensor.numel() > 0
    return tensor.numel() > 0 and int(tensor.max()) > 0


def corrupted(tensor: Tensor, filling: float) -> Tensor:
    if tensor.is_floating_point():
        return torch.full_like(tensor, filling)
    return ~tensor if tensor.dtype == torch.bool else (tensor + 1) % (tensor.max() + 1)


def corruption_shows(step: Step, number: int, before: list[Tensor]) -> bool:
    """Tell whether NaN, 0 or 1 in a saved tensor's place change a gradient."""
    for filling in (torch.nan, 0.0, 1.0):
        step.replaced = {number: corrupted(step.saved[number], filling)}
        if any(map(differ, step.gradients(), before)):
            return True
    return False


def differ(mine: Tensor, theirs: Tensor) -> bool:
    return not torch.equal(mine.nan_to_num(nan=1e9), theirs.nan_to_num(nan=1e9))


@MOST
def test_strided_and_expanded_inputs_give_the_same(case: Case) -> None:
    tensors, names = drawn(case)
    apart = {
        name: torch.stack([tensors[name], torch.full_like(tensors[name], 7)], -1)[..., 0]
        for name in names
    }
    for name, tensor in run(case, tensors | apart).items():
        same(tensor, whole(case)[name])
    shared = {
        name: tensors[name][:1].expand_as(tensors[name])
        for name in names
        if tensors[name].dim() > 1 and len(tensors[name]) > 0
    }
    if shared:
        own = run(case, tensors | {name: tensor.clone() for name, tensor in shared.items()})
        for name, tensor in run(case, tensors | shared).items():
            same(tensor, own[name])


def first(tensors: Tensors) -> tuple[str, Tensor]:
    """Return what torch calls input, or input1, or anchor, with its name."""
    return next(iter(tensors.items()))


@every_device
@every_case([case for case in CASES if first(drawn(case)[0])[1].dim() == 4])
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
