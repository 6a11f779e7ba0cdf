"""Batches and splits: every sample once an epoch, every split a function of the seed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from small_files import write_mnist

from bptrain.data.batches import BatchSource, permutation
from bptrain.data.images.digits import DigitsConfig, read_digits
from bptrain.data.images.mnist import MNISTConfig
from bptrain.data.splits import Parts, Samples, hold_out, standardize
from bptrain.data.stratified import held_out_rows


def numbered(samples: int, classes: int = 2) -> Samples:
    """Return samples whose only pixel is their number."""
    rows = torch.arange(samples)
    return Samples(rows.view(-1, 1).float(), rows % classes)


def served(batches: BatchSource, epoch: int) -> list[int]:
    return torch.cat([batch.inputs[0] for batch in batches.epoch(epoch)]).view(-1).int().tolist()


@pytest.mark.parametrize("seed", [None, 0, 2**62])
@pytest.mark.parametrize(("samples", "size", "count"), [(10, 3, 4), (9, 3, 3), (2, 5, 1)])
def test_an_epoch_serves_every_sample_once(
    seed: int | None, samples: int, size: int, count: int
) -> None:
    batches = numbered(samples).serve(size, seed)
    assert sorted(served(batches, 0)) == list(range(samples))
    sizes = [batch.weight for batch in batches.epoch(0)]
    assert len(sizes) == len(batches) == count
    assert set(sizes[:-1]) <= {size}


def test_inputs_and_targets_stay_together() -> None:
    for (inputs,), (targets,), *_ in numbered(20, classes=7).serve(6, seed=1).epoch(3):
        assert targets.tolist() == [int(number) % 7 for number in inputs.view(-1).tolist()]


def test_the_order_is_a_pure_function_of_seed_and_epoch() -> None:
    batches = numbered(50).serve(8, seed=3)
    second = served(batches, 1)
    torch.manual_seed(99)  # nobody else's random numbers matter
    assert served(batches, 0) != second
    assert served(batches, 1) == second
    assert served(numbered(50).serve(8, seed=4), 1) != second


def test_neighboring_seeds_and_epochs_share_no_order() -> None:
    orders = {
        tuple(permutation(30, seed, epoch).tolist()) for seed in range(10) for epoch in range(10)
    }
    assert len(orders) == 100


def test_without_a_seed_the_samples_come_in_their_order() -> None:
    assert served(numbered(7).serve(3), 5) == list(range(7))


def test_held_out_samples_keep_the_fraction_of_each_class() -> None:
    split = Samples(torch.zeros(100, 1), torch.tensor([0] * 80 + [1] * 20))
    rest, held_out = hold_out(split, 0.1, seed=0)
    assert held_out is not None
    assert held_out.targets.bincount().tolist() == [8, 2]
    assert rest.targets.bincount().tolist() == [72, 18]


def test_held_out_samples_are_a_function_of_the_seed_and_the_parts_are_disjoint() -> None:
    def drawn(seed: int) -> list[int]:
        rest, held_out = hold_out(numbered(40), 0.25, seed)
        assert held_out is not None
        both = torch.cat([rest.inputs, held_out.inputs]).view(-1).int().tolist()
        assert sorted(both) == list(range(40))
        return held_out.inputs.view(-1).int().tolist()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize("held_out", [13, 100, 251])
def test_held_out_samples_are_scikit_learns(seed: int, stratify: bool, held_out: int) -> None:
    random = np.random.default_rng(seed)
    classes = random.integers(0, 5, 1000) * random.integers(1, 3, 1000) if stratify else None
    theirs = train_test_split(
        np.arange(1000), test_size=held_out, random_state=seed, stratify=classes
    )
    assert np.array_equal(held_out_rows(1000, held_out, seed, classes), np.sort(theirs[1]))


@pytest.mark.parametrize("targets", [[0] * 9 + [1], [0, 1, 2, 3]])
def test_a_class_too_small_to_split_is_no_error(targets: list[int]) -> None:
    split = Samples(torch.zeros(len(targets), 1), torch.tensor(targets))
    rest, held_out = hold_out(split, 0.25, seed=0)
    assert held_out is not None
    assert len(rest) + len(held_out) == len(targets)


def test_nothing_is_held_out_at_a_fraction_of_0() -> None:
    split = numbered(10)
    assert hold_out(split, 0.0, seed=0) == (split, None)


def normal(samples: int, mean: float, std: float) -> Samples:
    generator = torch.Generator().manual_seed(samples)
    drawn = torch.randn(samples, 5, generator=generator) * std + mean
    return Samples(drawn, torch.zeros(samples, dtype=torch.int64))


def test_statistics_come_from_the_training_split_alone() -> None:
    train, other = normal(400, 10, 3), normal(300, -50, 20)
    scaled, constants = standardize(Parts(train, other, other))
    assert scaled.train.inputs.mean().item() == pytest.approx(0, abs=1e-5)
    assert scaled.train.inputs.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    again, _ = standardize(Parts(train, None, other))
    assert again.test.inputs.equal(scaled.test.inputs)
    mean, std = train.inputs.mean(), train.inputs.std(correction=0)
    assert constants == pytest.approx({"mean": mean.item(), "std": std.item()})
    torch.testing.assert_close(scaled.test.inputs, (other.inputs - mean) / std)


def test_constant_inputs_stay_finite() -> None:
    constant = Samples(torch.full((4, 3), 7.0), torch.zeros(4, dtype=torch.int64))
    assert standardize(Parts(constant, None, constant))[0].train.inputs.equal(torch.zeros(4, 3))


def test_the_digits_test_split_is_the_same_whatever_the_seed() -> None:
    first, second = (DigitsConfig().build(seed) for seed in (0, 1))
    assert first.test.targets.equal(second.test.targets)
    assert not first.train.targets.equal(second.train.targets)
    total = sum(map(len, (first.train, first.validation, first.test)))
    assert total == len(load_digits().target) == 1797
    assert len(first.test) == 359
    assert first.test.targets.bincount().min() >= 34  # stratified: a tenth each


def test_the_digits_are_scikit_learns() -> None:
    images, classes = read_digits()
    theirs = load_digits()
    assert np.array_equal(images[:, 0].numpy(), theirs.images)
    assert np.array_equal(classes.numpy(), theirs.target)


@pytest.mark.parametrize("zipped", [True, False], ids=["gzipped", "plain"])
def test_mnist_is_read_from_torchvisions_layout(
    tmp_path: Path, mnist_files: dict, zipped: bool
) -> None:
    root = write_mnist(tmp_path, mnist_files, zipped=zipped)
    splits = MNISTConfig(root=str(root), validation_fraction=0.25).build(0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (150, 50, 50)
    assert splits.problem.input_shape == (1, 28, 28)
    row = splits.test.inputs[3].view(28, 28).mean(1).argmax()
    assert (int(splits.test.targets[3]), int(row)) == (3, 6)  # the bright row is twice the label


def test_the_real_mnist_is_what_its_authors_published(bptrain_data: Path) -> None:
    splits = MNISTConfig(root=str(bptrain_data), validation_fraction=0).build(0)
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)
    zero = float(splits.train.inputs.min())  # a black pixel: -mean / std
    assert zero == pytest.approx(-0.1307 / 0.3081, abs=1e-3)


def test_splits_move_as_a_whole_and_know_their_size() -> None:
    splits = DigitsConfig().build(0)
    moved = splits.to(torch.device("cpu"))
    assert moved.bytes == splits.bytes > 1797 * 64 * 4
    assert moved.test.inputs.equal(splits.test.inputs)


def test_a_missing_validation_split_stays_missing() -> None:
    splits = DigitsConfig(validation_fraction=0.0).build(0)
    assert splits.validation is None
    assert splits.to(torch.device("cpu")).validation is None
