"""The config fields that all image data sets share: augmentation of the training images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor

from bptrain.data.augment import Transform
from bptrain.data.augment.transform_config import ImageInfo, TransformConfig
from bptrain.data.batches import Batch
from bptrain.data.hashed_random import Draws
from bptrain.data.images.folder_listing import list_classes
from bptrain.data.splits import Dataset, InMemoryConfig, Samples, Split
from bptrain.errors import UsageError
from bptrain.problem import Problem

BRIGHTEST = 255.0  # byte


@dataclass(frozen=True)
class Augmentation:
    """The transforms of a data set's training images, applied in order."""

    transforms: Sequence[TransformConfig]
    info: ImageInfo

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed."""
        return any(each.mixes for each in self.transforms)

    def __call__(self, batch: Batch, seed: int, epoch: int, rows: Tensor) -> Batch:
        """Return a batch of standardized images and classes, augmented."""
        (images,), (targets,) = batch.inputs, batch.targets
        for position, transform in enumerate(self.transforms):
            draws = Draws(seed, epoch, rows, position)
            images, targets = transform(images, targets, draws, self.info)
        return Batch((images,), (targets,), batch.weight)


class ImagesConfig(InMemoryConfig):
    """Config fields of every image data set."""

    augment: list[Transform] = Field(
        default=[],
        max_length=32,
        description="random transforms of the training images, applied in order and drawn anew for "
        "every image and epoch; [] for none",
    )

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return image files as inputs: cropped and scaled as in training."""
        raise NotImplementedError

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Split:
        """Return the images of a folder with a subfolder for each class, named as in training."""
        known = problem.names or tuple(map(str, range(problem.outputs)))
        _, images = list_classes(path, known)
        return replace(self.prepare(images.files, prepared), targets=images.targets)

    def augmented(self, dataset: Dataset, white: float = BRIGHTEST) -> Dataset:
        """Return the data set with augmentation of its training batches.

        white  the brightest pixel value before standardization; black is 0

        The training split must be a dataclass with a field `augment`, and `prepared` must hold the
        mean and std that it was standardized with. Raises UsageError if a transform does not suit
        these images.
        """
        if not self.augment:
            return dataset
        problem = dataset.problem
        channels, height, width = problem.input_shape
        means, stds = (
            value if isinstance(value, list) else [value] * channels
            for value in (dataset.prepared["mean"], dataset.prepared["std"])
        )
        blacks, whites = (
            tuple((pixel - mean) / std for mean, std in zip(means, stds, strict=True))
            for pixel in (0.0, white)
        )
        info = ImageInfo((channels, height, width), problem.outputs, blacks, whites)
        for position, transform in enumerate(self.augment):
            if refusal := transform.refusal(info):
                raise UsageError(
                    f"data.augment.{position}: {transform.kind} does not suit these images", refusal
                )
        train: Any = dataset.train
        return replace(
            dataset,
            train=replace(train, augment=Augmentation(self.augment, info)),
            problem=replace(problem, mixes=any(each.mixes for each in self.augment)),
        )
