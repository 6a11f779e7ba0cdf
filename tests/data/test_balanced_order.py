"""Balanced sampling: each class equally often, the same epoch whenever it is served."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_files import CONFIGS

from bptrain.data.balanced_order import BalancedOrder
from bptrain.data.splits import Samples

CLASSES = torch.tensor([3] * 80 + [0] * 3 + [7] * 17)


def test_each_class_comes_equally_often_and_each_of_its_samples_too() -> None:
    order = BalancedOrder(CLASSES)(100, 5, 0)
    assert sorted(CLASSES[order].bincount()[[0, 3, 7]].tolist()) == [33, 33, 34]
    for kind in (0, 3, 7):
        rows = (kind == CLASSES).nonzero().view(-1)
        times = order.bincount(minlength=100)[rows]
        assert times.max() - times.min() <= 1
        assert times.min() == int(times.sum()) // len(rows)


def test_the_order_is_a_pure_function_of_seed_and_epoch() -> None:
    order = BalancedOrder(CLASSES)
    first = order(100, 5, 2)
    torch.manual_seed(99)
    assert torch.equal(order(100, 5, 2), first)
    assert not torch.equal(order(100, 5, 3), first)
    assert not torch.equal(order(100, 6, 2), first)
    assert first.tolist() != sorted(first.tolist())
    assert len(CLASSES[first[:20]].unique()) == 3  # the classes are mixed within the epoch


def test_batches_from_the_middle_are_those_of_the_whole_epoch() -> None:
    samples = Samples(torch.arange(100.0).view(-1, 1), CLASSES)
    batches = samples.serve(8, seed=1).in_order(BalancedOrder(CLASSES))  # type: ignore[attr-defined]
    whole = [batch.inputs[0] for batch in batches.epoch(4)]
    rest = [batch.inputs[0] for batch in batches.epoch(4, start=5)]
    assert all(map(torch.equal, whole[5:], rest))
    assert len(whole) == 13
    numbers = torch.cat(whole).view(-1).long()
    assert torch.equal(numbers, torch.cat([batches.samples(4, n) for n in range(13)]))


def test_a_run_is_trained_on_the_balanced_samples(bptrain: Callable) -> None:
    seen: dict[str, str] = {}
    for sampling in ("balanced", "shuffled"):
        words = [f"data.sampling={sampling}", "model.hidden=[8]", "train.steps=4"]
        result = bptrain("fit", CONFIGS / "digits_mlp.yaml", *words, "--run-dir", sampling)
        assert result.exit_code == 0, result.stderr
        seen[sampling] = Path(sampling, "metrics.jsonl").read_text().partition("train/loss")[2][:20]
    assert seen["balanced"] != seen["shuffled"]
    dev = bptrain("fit", CONFIGS / "digits_mlp.yaml", "data.sampling=balanced", "--fast-dev-run")
    assert dev.exit_code == 0, dev.stderr


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("adding_mlp.yaml", "regression has no class for each sample"),
        ("parity_mlp.yaml", "drawn anew in every epoch"),
    ],
)
def test_what_cannot_be_balanced_is_refused(bptrain: Callable, config: str, why: str) -> None:
    result = bptrain("fit", CONFIGS / config, "data.sampling=balanced")
    assert result.exit_code == 2
    assert "data.sampling: is balanced" in result.stderr
    assert why in result.stderr
