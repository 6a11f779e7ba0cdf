"""scikit-learn's handwritten digits: 1,797 real images of 8 x 8, inside the package itself."""

from typing import Literal

import torch
from sklearn.datasets import load_digits

from bptrain.data.splits import Dataset, InMemoryConfig, Parts, Samples, hold_out, standardize
from bptrain.problem import Problem

TEST_FRACTION = 0.2
TEST_SEED = 0  # fixed: every run, whatever its seed, is tested on the same 359 images


class DigitsConfig(InMemoryConfig):
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
        problem = Problem("classification", (1, 8, 8), 10, names=tuple("0123456789"))
        return Dataset(problem, parts.train, parts.validation, parts.test, prepared)
