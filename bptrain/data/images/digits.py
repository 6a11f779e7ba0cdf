"""scikit-learn's handwritten digits: 1,797 real images of 8 x 8 inside the installed package."""

import gzip
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptrain.data.contents import contents_of
from bptrain.data.images.image_file import ImageShape, prepare_images
from bptrain.data.images.images_config import ImagesConfig
from bptrain.data.splits import Dataset, Parts, Samples, hold_out, standardize
from bptrain.errors import DataError
from bptrain.problem import Problem

SHAPE = ImageShape(8, 8, channels=1)
LARGEST = 16  # pixels run from 0, the background, to 16, the ink
TEST_FRACTION = 0.2
TEST_SEED = 0  # fixed: the test split is the same 359 images whatever the run's seed


class DigitsConfig(ImagesConfig):
    """scikit-learn's digits: 10 classes, grayscale, 8 x 8 pixels, no download.

    A stratified fifth is the test split.
    """

    kind: Literal["digits"] = "digits"

    brightest: ClassVar[float] = LARGEST

    def build(self, seed: int) -> Dataset:
        """Return the data set; `seed` selects the validation samples."""
        images, classes = read_digits()
        whole = Samples(images, classes)
        train, test = hold_out(whole, TEST_FRACTION, TEST_SEED)
        train, validation = hold_out(train, self.validation_fraction, seed)
        read = Parts(train, validation, test)
        parts, prepared = standardize(read)
        problem = Problem("classification", SHAPE.chw, 10, names=tuple("0123456789"))
        splits = (parts.train, parts.validation, parts.test)
        dataset = Dataset(problem, *splits, prepared, contents_of(read))
        return self.augmented(dataset, LARGEST)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return image files as inputs: grayscale, cropped and scaled to 8 x 8, white on black.

        An image that is bright at all four corners is ink on paper, and is inverted.
        """
        return prepare_images(words, SHAPE, prepared, invert_bright=True, largest=LARGEST)


def read_digits() -> tuple[Tensor, Tensor]:
    """Return the images [N, 1, 8, 8], float32 from 0 to 16, and their classes [N].

    The file is read where scikit-learn is installed, as importing it takes a second.
    """
    table = _table()
    images = torch.from_numpy(table[:, :-1]).float().view(-1, *SHAPE.chw)
    return images, torch.from_numpy(table[:, -1]).long()


@cache  # 115 KB, whose text takes 20 ms to read
def _table() -> NDArray[np.uint8]:
    try:
        path = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
        with gzip.open(str(path), "rt") as file:
            return np.loadtxt(file, np.uint8, delimiter=",")
    except (PackageNotFoundError, OSError, ValueError) as error:
        raise DataError(
            "scikit-learn's digits cannot be read", str(error), "pip install scikit-learn again"
        ) from error
