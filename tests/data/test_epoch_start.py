"""Every batch source resumes in the middle of an epoch, without computing earlier batches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_sets import write_folder
from torch import Tensor

from bptrain.data.audio.spec_augment import SpecAugmentConfig
from bptrain.data.augment.color import ColorJitterConfig, NoiseConfig
from bptrain.data.augment.geometry import CropConfig, FlipConfig
from bptrain.data.augment.mixing import MixupConfig
from bptrain.data.batches import Batch, Batches, BatchSource, permutation
from bptrain.data.generated.memory_tasks import AddingConfig, CopyConfig
from bptrain.data.images.digits import DigitsConfig
from bptrain.data.images.image_folder import ImageFolderConfig
from bptrain.data.images.image_splits import DecodedBatches
from bptrain.data.splits import Samples
from bptrain.data.text.text_stream import TextStream

CHANGED = [FlipConfig(), CropConfig(padding=2), ColorJitterConfig(), NoiseConfig(), MixupConfig()]


def samples(count: int = 13, **options: Any) -> Samples:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 6, 4, generator=generator)
    return Samples(inputs, torch.arange(count) % 3, **options)


def of_a_folder(root: Path, **options: Any) -> BatchSource:
    config = ImageFolderConfig(root=str(root), size=8, augment=CHANGED, **options)
    return config.build(0).train.serve(4, seed=5)


def text(length: int) -> TextStream:
    return TextStream(torch.arange(length) % 11, 4, "a text", "character")


LENGTHS = torch.arange(13) % 5 + 1
SOURCES: dict[str, Callable[[Path], BatchSource]] = {
    "in order": lambda _: samples().serve(4),
    "shuffled": lambda _: samples().serve(4, seed=5),
    "whole batches": lambda _: samples(12).serve(4, seed=5),
    "sequences": lambda _: samples(lengths=LENGTHS, augment=SpecAugmentConfig()).serve(4, seed=5),
    "augmented": lambda _: DigitsConfig(augment=CHANGED).build(0).train.serve(200, seed=5),
    "images in memory": lambda path: of_a_folder(write_folder(path)),
    "images on disk": lambda path: of_a_folder(write_folder(path), memory_bytes=0),
    "drawn for each epoch": lambda _: AddingConfig(samples=30, fresh=True).build(0).train.serve(8),
    "answered at each step": lambda _: CopyConfig(samples=30).build(0).train.serve(8, seed=5),
    "every window of a text": lambda _: text(47).serve(3),
    "shifted windows": lambda _: text(103).serve(4, seed=5),
}


def tensors_of(batch: Batch) -> list[Tensor]:
    numbers = torch.tensor(batch.weight)
    return [*map(torch.as_tensor, batch.inputs), *batch.targets, numbers]


def assert_same(ones: list[Batch], others: list[Batch]) -> None:
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        for tensor, again in zip(tensors_of(one), tensors_of(other), strict=True):
            assert tensor.dtype == again.dtype
            assert tensor.equal(again)


@pytest.mark.parametrize("name", SOURCES)
def test_an_epoch_resumes_from_any_batch_bit_for_bit(tmp_path: Path, name: str) -> None:
    source = SOURCES[name](tmp_path)
    for epoch in (0, 3):
        whole = list(source.epoch(epoch))
        assert len(whole) == len(source) >= 3
        for start in range(len(whole) + 1):
            torch.manual_seed(start)  # nobody else's random numbers matter
            assert_same(whole[start:], list(source.epoch(epoch, start)))


def test_workers_resume_in_mid_epoch_and_decode_only_what_is_served(tmp_path: Path) -> None:
    source = of_a_folder(write_folder(tmp_path), memory_bytes=0, workers=2)
    assert isinstance(source, DecodedBatches)
    whole = list(source.epoch(1))
    files = source.split.files
    for row in permutation(len(files), 5, 1)[: 2 * 4].tolist():
        Path(files[row]).write_bytes(b"whoever decodes this file fails")
    assert_same(whole[2:], list(source.epoch(1, 2)))


def test_only_the_first_window_of_a_text_resets_the_state() -> None:
    for source in (text(47).serve(3), text(103).serve(4, seed=5)):
        assert [batch.inputs[1] for batch in source.epoch(0, 1)] == [False] * (len(source) - 1)
        assert next(source.epoch(0)).inputs[1] is True


def test_no_batch_is_selected_before_the_start() -> None:
    class Counted(Batches):
        selections = 0

        def select(self, *rows: Any) -> Batch:
            self.selections += 1
            return super().select(*rows)

    for seed in (None, 5):
        source = Counted((torch.zeros(40, 2),), (torch.zeros(40),), 4, seed)
        assert len(list(source.epoch(0, 7))) == source.selections == 3
