"""The config fields that all image data sets share: augmentation of the training images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from bptrain.data.augment import Transform
from bptrain.data.augment.transform_config import ImageInfo, TransformConfig
from bptrain.data.batches import Batch
from bptrain.data.class_folders import list_classes
from bptrain.data.file_tree import FileKind
from bptrain.data.given_arrays import Array, place_of, stacked, zeros
from bptrain.data.hashed_random import Draws
from bptrain.data.images.image_formats import IMAGE
from bptrain.data.splits import Dataset, InMemoryConfig, Samples, Split, rescale
from bptrain.errors import DataError, UsageError
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

    input_files: ClassVar[FileKind] = IMAGE
    input_kind: ClassVar[str] = "image"

    augment: list[Transform] = Field(
        default=[],
        max_length=32,
        description="random transforms of the training images, applied in order and drawn anew for "
        "every image and epoch; [] for none",
    )

    brightest: ClassVar[float] = BRIGHTEST

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return image files as inputs: cropped and scaled as in training."""
        raise NotImplementedError

    def prepare_arrays(
        self, arrays: Sequence[Array], problem: Problem, prepared: Mapping[str, Any]
    ) -> Samples:
        """Return images of the training images' size and unit as inputs: scaled, nothing else.

        Each is [C, H, W], [H, W, C], or [H, W] where there is one channel.
        """
        channels = problem.input_shape[0]
        images = [channels_first(each, channels) for each in arrays]
        pixels = stacked(images, problem.input_shape)
        refuse_other_pixels(images, self.brightest)
        return rescale(Samples(pixels, zeros(len(pixels))), prepared["mean"], prepared["std"])

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Split:
        """Return the images of a folder with a subfolder for each class, named as in training."""
        known = problem.names or tuple(map(str, range(problem.outputs)))
        _, images = list_classes(path, known, IMAGE)
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
            refusal = transform.refusal(info)
            if transform.mixes and problem.task != "classification":
                refusal = "it mixes classes, and these targets are numbers"
            if refusal:
                raise UsageError(
                    f"data.augment.{position}: {transform.kind} does not suit these images", refusal
                )
        train: Any = dataset.train
        return replace(
            dataset,
            train=replace(train, augment=Augmentation(self.augment, info)),
            problem=replace(problem, mixes=any(each.mixes for each in self.augment)),
        )


def channels_first(image: Array, channels: int) -> Array:
    """Return an image [H, W] or [H, W, C] as [C, H, W]; another one as it is."""
    if image.ndim == 2 and channels == 1:
        return image[None]
    is_last = image.ndim == 3 and image.shape[2] == channels != image.shape[0]
    return image.transpose(2, 0, 1) if is_last else image


def refuse_other_pixels(images: Sequence[Array], brightest: float) -> None:
    """Raise DataError for pixels that are not from 0 to the training images' brightest value."""
    for row, image in enumerate(images):
        lowest, highest = float(image.min()), float(image.max())
        is_fraction = image.dtype.kind == "f" and 0 < highest <= 1 < brightest
        if lowest < 0 or highest > brightest or is_fraction:
            raise DataError(
                f"{place_of(row)}: pixels from {lowest:g} to {highest:g}",
                f"those of the training images are from 0 to {brightest:g}, before any scaling",
                f"array * {brightest:g}, if 1 is the brightest" if is_fraction else "",
            )
