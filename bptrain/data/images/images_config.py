"""What every data set of images shares: the transforms that its training images pass through."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field
from torch import Tensor

from bptrain.data.augment import Transform
from bptrain.data.augment.transform import Images, TransformConfig
from bptrain.data.batches import Batch
from bptrain.data.hashed_random import Draws
from bptrain.data.splits import Dataset, InMemoryConfig
from bptrain.errors import UsageError

BRIGHTEST = 255.0  # of a byte


@dataclass(frozen=True)
class Augmentation:
    """The transforms of a data set's training images, one after the other."""

    transforms: Sequence[TransformConfig]
    images: Images

    def __call__(self, batch: Batch, seed: int, epoch: int, rows: Tensor) -> Batch:
        """Return a batch of standardized images and classes changed."""
        (images,), (targets,) = batch.inputs, batch.targets
        for place, transform in enumerate(self.transforms):
            draws = Draws(seed, epoch, rows, place)
            images, targets = transform(images, targets, draws, self.images)
        return Batch((images,), (targets,), batch.weight)


class ImagesConfig(InMemoryConfig):
    """What every data set of images reads from the config."""

    augment: list[Transform] = Field(
        default=[],
        max_length=32,
        description="changes of the training images, in turn, other ones every epoch",
    )

    def augmented(self, dataset: Dataset, white: float = BRIGHTEST) -> Dataset:
        """Return the data set with its training images changed as they are served.

        white  the brightest pixel before standardization; black is 0

        The training split is a dataclass with a field `augment`, and `prepared` holds the mean and
        deviation that it was standardized by. Raises UsageError for images that a transform does
        not fit.
        """
        if not self.augment:
            return dataset
        problem = dataset.problem
        channels, height, width = problem.input_shape
        means, deviations = (
            value if isinstance(value, list) else [value] * channels
            for value in (dataset.prepared["mean"], dataset.prepared["deviation"])
        )
        black, white_of = (
            tuple((pixel - m) / d for m, d in zip(means, deviations, strict=True))
            for pixel in (0.0, white)
        )
        images = Images((channels, height, width), problem.outputs, black, white_of)
        for place, transform in enumerate(self.augment):
            if refusal := transform.refusal(images):
                raise UsageError(
                    f"data.augment.{place}: {transform.kind} does not fit these images", refusal
                )
        train: Any = dataset.train
        return replace(
            dataset,
            train=replace(train, augment=Augmentation(self.augment, images)),
            problem=replace(problem, mixes=any(each.mixes for each in self.augment)),
        )
