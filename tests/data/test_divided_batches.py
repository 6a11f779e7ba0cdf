"""Batches of which several processes have some rows each: together they have the whole batch."""

from pathlib import Path

import pytest
import torch
from test_epoch_start import SOURCES
from torch import Tensor

from bptrain.data.batches import Batch, Divisible
from bptrain.data.images import image_splits
from bptrain.data.images.image_splits import DecodedBatches

RANKS = 3


def rows_of(rank: int, samples: int) -> slice:
    return slice(samples * rank // RANKS, samples * (rank + 1) // RANKS)


def parts_of(source: Divisible) -> list[tuple[Batch, ...]]:
    """Return the parts of each batch of an epoch."""
    ranks = [source.divided(lambda n, rank=rank: rows_of(rank, n)) for rank in range(RANKS)]
    return list(zip(*(list(each.epoch(1)) for each in ranks), strict=True))


@pytest.mark.parametrize("name", SOURCES)
def test_the_parts_are_the_whole_batch_bit_for_bit(tmp_path: Path, name: str) -> None:
    source = SOURCES[name](tmp_path)
    assert isinstance(source, Divisible)
    for whole, parts in zip(source.epoch(1), parts_of(source), strict=True):
        assert {part.whole for part in parts} == {whole.weight}
        assert sum(part.weight for part in parts) == whole.weight
        counted = [part for part in parts if part.weight]
        for given, *cut in zip(whole.inputs, *(part.inputs for part in counted), strict=True):
            # of a text it is told besides whether it begins, which all have in common
            assert torch.cat(cut).equal(given) if isinstance(given, Tensor) else {*cut} == {given}
        for tensor, *cut in zip(whole.targets, *(part.targets for part in counted), strict=True):
            assert torch.cat(cut).equal(tensor)


def test_a_process_without_a_row_has_one_that_counts_nothing(tmp_path: Path) -> None:
    last = parts_of(SOURCES["shuffled"](tmp_path))[-1]  # of one sample
    assert [part.weight for part in last] == [0, 0, 1]
    assert [len(part.targets[0]) for part in last] == [1, 1, 1]


@pytest.mark.parametrize("mixes", [False, True])
def test_images_are_read_by_the_process_that_trains_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixes: bool
) -> None:
    source = SOURCES["images on disk"](tmp_path)
    assert isinstance(source, DecodedBatches)
    if not mixes:
        monkeypatch.setattr(type(source.split.augment), "mixes", False)
    read = []
    decoded = image_splits.decoded

    def noted(paths: list[list[str]], *arguments: object, **options: object) -> object:
        read.append(sum(map(len, paths)))
        return decoded(paths, *arguments, **options)

    monkeypatch.setattr(image_splits, "decoded", noted)
    for rank in range(2):
        half = source.divided(lambda n, rank=rank: slice(rank * n // 2, (rank + 1) * n // 2))
        list(half.epoch(0))
    samples = len(source.split)
    assert read == [samples, samples] if mixes else sum(read) == samples
