"""scikit-learn's handwritten digits: 1,797 real images of 8 x 8, inside the package itself."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from sklearn.datasets import load_digits

from bptrain.data.images.image_file import Form, prepare_images
from bptrain.data.images.images_config import ImagesConfig
from bptrain.data.splits import Dataset, Parts, Samples, hold_out, standardize
from bptrain.problem import Problem

FORM = Form(8, 8, channels=1)
LARGEST = 16  # pixels run from 0, the background, to 16, the ink
TEST_FRACTION = 0.2
TEST_SEED = 0  # fixed: every run, whatever its seed, is tested on the same 359 images


class DigitsConfig(ImagesConfig):
    """scikit-learn's digits (8 x 8, 10 classes), offline; a stratified fifth is the test split."""

    kind: Literal["digits"] = "digits"

    def build(self, seed: int) -> Dataset:
        """Return the data set, the validation samples drawn by `seed`."""
        digits = load_digits()
        images = torch.from_numpy(digits.images).float().unsqueeze(1)  # [N, 1, 8, 8]
        whole = Samples(images, torch.from_numpy(digits.target).long())
        train, test = hold_out(whole, TEST_FRACTION, TEST_SEED)
        train, validation = hold_out(train, self.validation_fraction, seed)
        parts, prepared = standardize(Parts(train, validation, test))
        problem = Problem("classification", FORM.shape, 10, names=tuple("0123456789"))
        dataset = Dataset(problem, parts.train, parts.validation, parts.test, prepared)
        return self.augmented(dataset, LARGEST)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return image files as inputs: grey, their middle fitted to 8 x 8, white on black.

        A picture that is bright at all four corners is ink on paper: its negative is taken.
        """
        return prepare_images(words, FORM, prepared, ink=True, top=LARGEST)
