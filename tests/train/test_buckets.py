"""Gradients are added over processes in buckets, each as soon as it is complete."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from bptrain import nn
from bptrain.data.batches import Batch
from bptrain.tape import Autograd, Engine, record
from bptrain.tape.layer_gradients import LayerGradients
from bptrain.train.buckets import FIRST_BYTES, BucketSums, divided
from bptrain.train.loop import StepReport, fit
from bptrain.train.precision import Precision
from bptrain.train.update import Update

# bytes that close a bucket
PARAMETERS, LAYERS, ALL = 1.0, 96.0, 1e9  # what a bucket then holds of `three_layers`
BUCKETS = {PARAMETERS: 6, LAYERS: 3, ALL: 1}


class OtherRanks:
    """The exchange with a process that has the same gradients; it notes what happens.

    order   of the buckets, that rank 0 says; its own where it is None
    others  what the other process has in place of the same, one for each sum
    """

    def __init__(self, order: list[int] | None = None, others: list[Tensor] | None = None) -> None:
        self.order, self.others = order, others
        self.events: list[object] = []
        self.model: torch.nn.Module | None = None

    def start_sum(self, tensor: Tensor) -> Callable[[], None]:
        there = [] if self.model is None else [p.grad is not None for p in self.model.parameters()]
        self.events.append((len(tensor), there))
        other = self.others.pop(0) if self.others else tensor.clone()

        def wait() -> None:
            self.events.append("waited")
            tensor.add_(other)

        return wait

    def of_first(self, numbers: list[int]) -> list[int]:
        self.events.append("order")
        return numbers if self.order is None else self.order

    @property
    def sums(self) -> list[tuple[int, list[bool]]]:
        return [each for each in self.events if isinstance(each, tuple)]

    @property
    def sizes(self) -> list[int]:
        return [size for size, _ in self.sums]


class FourBatches:
    """Four batches an epoch, the last one smaller."""

    def __len__(self) -> int:
        return 4

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        numbers = torch.Generator().manual_seed(epoch)
        for rows in (6, 6, 6, 2)[start:]:
            x, y = (torch.randn(rows, size, generator=numbers) for size in (4, 5))
            yield Batch((x,), (y,), rows)


def three_layers() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 5)
    )


ENGINES = {"tape": record, "autograd": Autograd}


def trained(
    engine: Engine, others: OtherRanks | None, size: float, batches: int = 1
) -> list[StepReport]:
    optimizer = torch.optim.SGD(engine.model.parameters(), lr=0.1)
    gradients = LayerGradients(engine.model)
    update = Update(
        optimizer,
        lambda step: 1.0,
        gradients,
        Precision.of("fp32", torch.device("cpu")),
        batches=batches,
    )
    if others is not None:
        update.sums = BucketSums(gradients.parameters, size, others)
        others.model = engine.model
    return list(fit(engine, FourBatches(), update, 4))


@pytest.mark.parametrize("size", BUCKETS)
@pytest.mark.parametrize("batches", [1, 2, 3])
@pytest.mark.parametrize("kind", ENGINES)
def test_buckets_give_the_step_of_one_sum(kind: str, batches: int, size: float) -> None:
    """Two processes with the same gradients: a step of twice the learning rate, bit for bit."""
    ours, theirs = (ENGINES[kind](three_layers(), nn.MSELoss()) for _ in range(2))
    others = OtherRanks()
    reports = trained(ours, others, size, batches)
    optimizer = torch.optim.SGD(theirs.model.parameters(), lr=0.2)
    plain = Update(
        optimizer,
        lambda step: 1.0,
        LayerGradients(theirs.model),
        Precision.of("fp32", torch.device("cpu")),
        batches=batches,
    )
    expected = list(fit(theirs, FourBatches(), plain, 4))
    assert reports[0].loss != reports[-1].loss
    for one, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(reports, expected, strict=True):
        assert torch.equal(one.loss, 2 * other.loss)
    assert len(others.sizes) == 4 * BUCKETS[size]  # with accumulation, too: of the last batch alone
    assert others.events.count("order") == 1


@pytest.mark.parametrize("kind", ENGINES)
def test_a_sum_starts_while_the_layers_below_have_no_gradient(kind: str) -> None:
    others = OtherRanks()
    trained(ENGINES[kind](three_layers(), nn.MSELoss()), others, LAYERS)
    first, second = others.events[:7], others.events[7:13]
    # the first step's buckets are known only after its backward pass
    sizes = [20 + 5 + 2 + 1, 20 + 4 + 2, 20 + 5 + 2]  # W, b, their flags; the loss in the first one
    assert first[:4] == ["order", *((size, [True] * 6) for size in sizes)]
    assert second[:3] == [
        (sizes[0], [False, False, False, False, True, True]),
        (sizes[1], [False, False, True, True, True, True]),
        (sizes[2], [True] * 6),
    ]
    assert first[4:] == second[3:] == ["waited"] * 3


def test_sums_start_in_one_order_whatever_a_process_completes_first() -> None:
    others = OtherRanks(order=[0, 1, 2, 3, 4, 5])  # rank 0 completes the first layer first
    trained(record(three_layers(), nn.MSELoss()), others, LAYERS)
    assert others.sizes == [20 + 5 + 2 + 1, 20 + 4 + 2, 20 + 5 + 2] * 4
    # not before the first layer is complete, which here is the last one
    assert all(there == [True] * 6 for _, there in others.sums)


def test_each_parameter_is_in_one_bucket_and_in_its_order() -> None:
    sizes = (10, FIRST_BYTES // 4, 3, 4, 1000, 7)
    parameters = [torch.nn.Parameter(torch.empty(n, device="meta")) for n in sizes]

    def sizes_of(bucket_bytes: float) -> list[list[int]]:
        return [[p.numel() for p in b] for b in divided(parameters, bucket_bytes)]

    assert sizes_of(1e9) == [[10, FIRST_BYTES // 4], [3, 4, 1000, 7]]
    assert sizes_of(1.0) == [[n] for n in sizes]
    assert sizes_of(28.0) == [[10], [FIRST_BYTES // 4], [3, 4], [1000], [7]]
    assert sizes_of(29.0) == [[10], [FIRST_BYTES // 4], [3, 4, 1000], [7]]
    half = [torch.nn.Parameter(p.half()) for p in parameters]
    assert [len(each) for each in divided(half, 14.0)] == [1, 1, 2, 1, 1]


def sums_of(parameters: list[torch.nn.Parameter], others: OtherRanks) -> Tensor:
    sums = BucketSums(parameters, 1e9, others)
    loss = torch.tensor(0.5)
    sums.begin(loss)
    return sums.finish()


def test_a_gradient_that_one_process_lacks_is_that_of_the_other() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(n)) for n in (2, 3, 1)]
    parameters[0].grad = torch.tensor([1.0, 2.0])
    # the gradients, whether each is there, the loss
    other = torch.tensor([3.0, 0.0, 4.0, 5.0, 6.0, 0.0, 1.0, 1.0, 0.0, 0.25])
    others = OtherRanks(others=[other])
    loss = sums_of(parameters, others)
    assert others.sizes == [len(other)]
    assert parameters[0].grad.tolist() == [4.0, 2.0]
    assert parameters[1].grad.tolist() == [4.0, 5.0, 6.0]  # the other process alone has it
    assert parameters[2].grad is None  # nobody has it: the optimizer leaves it alone
    assert loss.item() == 0.75


def test_a_gradient_that_is_zero_is_there() -> None:
    (parameter,) = parameters = [torch.nn.Parameter(torch.zeros(2))]
    sums_of(parameters, OtherRanks(others=[torch.tensor([0.0, 0.0, 1.0, 0.5])]))
    assert parameter.grad.tolist() == [0.0, 0.0]


def test_the_loss_does_not_keep_a_bucket_in_memory() -> None:
    """The log holds the losses of all steps since its last line."""
    parameters = [torch.nn.Parameter(torch.zeros(1000))]
    parameters[0].grad = torch.ones(1000)
    assert sums_of(parameters, OtherRanks()).untyped_storage().nbytes() == 4


def test_layouts_and_dtypes_are_kept() -> None:
    images = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    parameters = [torch.nn.Parameter(each) for each in (images, torch.randn(3).double())]
    for each in parameters:
        each.grad = torch.randn_like(each)
    expected = [2 * each.grad for each in parameters]
    sums_of(parameters, OtherRanks())
    for each, gradient in zip(parameters, expected, strict=True):
        assert torch.equal(each.grad, gradient)
        assert each.grad.stride() == each.stride()


def test_a_gradient_that_changes_after_it_is_complete_is_noticed() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    completed = BucketSums(parameters, 1e9, OtherRanks()).begin(torch.tensor(0.5))
    completed(torch.nn.Parameter(torch.zeros(1)))  # of a loss: nobody trains it
    completed(parameters[0])
    with pytest.raises(AssertionError, match="once it is complete"):
        completed(parameters[0])
