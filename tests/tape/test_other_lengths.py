"""A record of packed sequences holds for other lengths, unless something else depends on them."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from networks import NETWORKS, Network
from torch import Tensor

import bptrain.tape.step
from bptrain import nn
from bptrain.models.packing import Packing
from bptrain.tape import Engine, Step
from bptrain.tape.run import Autograd

Batch = tuple[tuple[Any, ...], tuple[Tensor, ...]]
# in other orders, the second of as many rows as the first, one of equal lengths, one of one step
LENGTHS = [[7, 2, 5, 5], [5, 7, 5, 2], [2, 7, 6, 5], [1, 2, 3, 7], [3, 7, 1, 1], [4, 4, 4, 4]]
LENGTHS += [[1, 1, 1, 1], [7, 7, 7, 6]]


def batches(network: Network, lengths: Sequence[Sequence[int]]) -> Iterator[Batch]:
    """Yield a batch of its own for each of the lengths."""
    torch.manual_seed(1)
    for each in lengths:
        target = torch.randint(4, network.targets[0].shape)
        yield (torch.randint(1, 9, (4, 7)), torch.tensor(each)), (target,)


def left_behind(engine: Engine, batch: Batch) -> list[Tensor | None]:
    """Return all that a step leaves behind."""
    engine.model.zero_grad()
    torch.manual_seed(2)
    run = engine.begin(*batch)
    found = [run.forward().detach().clone(), run.loss().detach().clone()]
    run.backward(lambda loss: loss)
    return [*found, *(p.grad for p in engine.model.parameters()), torch.get_rng_state()]


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """As many entries as there were forward passes that were recorded."""
    made: list[None] = []
    record = bptrain.tape.step.recorded

    def counted(*given: Any) -> Any:
        made.append(None)
        return record(*given)

    monkeypatch.setattr(bptrain.tape.step, "recorded", counted)
    return made


def follow(network: Network, lengths: Sequence[Sequence[int]], **options: Any) -> Step:
    """Compare the step on batches of these lengths with autograd's, bit for bit."""
    step = Step(network.model, network.loss, **options)
    reference = Autograd(deepcopy(network.model), network.loss)
    for batch in batches(network, lengths):
        ours, others = left_behind(step, batch), left_behind(reference, batch)
        torch.testing.assert_close(ours, others, rtol=0, atol=0)
    assert step.reasons == []
    fresh = Step(network.model, network.loss, **options)  # as after a resume
    torch.testing.assert_close(left_behind(fresh, batch), ours, rtol=0, atol=0)
    return step


@pytest.mark.parametrize("name", ["lstm, packed", "gru, packed, max", "rnn, tagger"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_record_holds_for_other_lengths(
    name: str, precision: torch.dtype, records: list[None]
) -> None:
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, precision is torch.bfloat16):
        follow(NETWORKS[name](), LENGTHS, records_again=False)
    # [1] of its kind, of as many rows, of others; of equal lengths, of others; of the fresh step
    assert len(records) == 3 + 2 + 1


class Rows:
    """Sees how many packed rows the scans run over, forward and backward."""

    def __init__(self) -> None:
        self.forward: list[int] = []
        self.backward: list[int] = []

    def after_forward(self, entry: Any, values: Any, saved: Any) -> None:
        if "bptt" in str(entry.structure[0]):
            self.forward.append(len(values[entry.outputs[0]]))

    def before_backward(self, entry: Any, upstream: Any, saved: Any) -> None:
        if "bptt" in str(entry.structure[0]):
            self.backward.append(len(upstream[0]))

    def after_backward(self, entry: Any, gradients: Any) -> None:
        pass


@pytest.mark.parametrize("apart", [False, True])
def test_an_observer_sees_the_lengths_of_the_batch(apart: bool) -> None:
    network = NETWORKS["rnn, tagger"]()
    step, seen = follow(network, LENGTHS[:4]), Rows()
    inputs, targets = next(iter(batches(network, [[3, 1, 1, 2]])))
    run = step.begin(inputs, targets, observer=seen, apart=apart)
    run.forward()
    run.loss()
    run.backward(lambda loss: loss)
    assert (seen.forward, seen.backward) == ([7, 7], [7, 7])  # of two layers


@pytest.mark.parametrize("wrong", [0, 8])
def test_wrong_lengths_are_refused_as_ever(wrong: int) -> None:
    network = NETWORKS["lstm, packed"]()
    step = follow(network, LENGTHS)
    with pytest.raises(ValueError, match="expected 1 to 7"):
        left_behind(step, next(iter(batches(network, [[3, wrong, 2, 1]]))))


class Head(torch.nn.Module):
    """A layer over packed rows that depends on how many there are."""

    def __init__(self, inner: torch.nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, rows: Tensor) -> Tensor:
        output: Tensor = self.inner(self.change(rows))
        return output


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "a choice": lambda rows: -rows if len(rows) > 20 else rows,
    "a choice by shape": lambda rows: -rows if rows.shape[0] > 20 else rows,
    "a view": lambda rows: rows.unsqueeze(1).flatten(0, 1),
    "a number of parts": lambda rows: torch.cat(rows.split(8)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_depends_on_the_number_of_rows_is_recorded_anew(
    change: str, records: list[None]
) -> None:
    network = NETWORKS["rnn, tagger"]()
    network.model.output = Head(network.model.output, CHANGES[change])
    lengths = [[7, 2, 5, 5], [2, 7, 3, 5], [7, 7, 6, 6], [1, 2, 3, 7]]  # the third has 26 rows
    follow(network, lengths)
    assert len(records) > len(lengths)


class Packs(torch.nn.Module):
    """Its outputs are packed."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(9, 5), nn.Linear(5, 4)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        rows = Packing(lengths, tokens.shape[1], tokens.device).pack(tokens)
        output: Tensor = self.last(self.embedding(rows))
        return output


def test_a_loss_that_reads_packed_rows_is_recorded_anew(records: list[None]) -> None:
    inputs = torch.randint(1, 9, (4, 7)), torch.tensor(LENGTHS[0])
    network = Network(Packs(), MeanOrDouble(), inputs, (torch.randint(4, (4,)),))
    follow(network, [[7, 2, 5, 5], [2, 7, 3, 5], [7, 7, 6, 6], [1, 2, 3, 7]])
    assert len(records) > 4


class MeanOrDouble(torch.nn.Module):
    """A loss that might depend on how many outputs there are."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.mean() * (1 if outputs.shape[0] < 20 else 2)
