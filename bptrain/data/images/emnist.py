"""EMNIST: handwritten letters and digits, six ways of sorting them, in torchvision's layout.

The files hold every image transposed, and the `letters` count their labels from 1; here images
stand upright and labels count from 0.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field
from torchvision import datasets

from bptrain.data.images.mnist import RawImagesConfig, read_split
from bptrain.data.splits import Samples


class EMNISTConfig(RawImagesConfig):
    """Letters and digits: read from ROOT/EMNIST/raw, or downloaded into it by torchvision."""

    kind: Literal["emnist"] = "emnist"
    split: Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"] = Field(
        default="balanced", description="how characters are sorted into classes"
    )

    source = datasets.EMNIST

    def files(self) -> dict[str, tuple[str, str]]:
        """Return the names of the image file and the label file of each split."""
        stems = {part: f"emnist-{self.split}-{part}" for part in ("train", "test")}
        return {
            part: (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte")
            for part, stem in stems.items()
        }

    def class_names(self) -> tuple[str, ...]:
        """Return the characters of the split's classes."""
        names = datasets.EMNIST.classes_split_dict[self.split]
        return tuple(names[self._first_label :])

    @property
    def _first_label(self) -> int:
        return 1 if self.split == "letters" else 0  # torchvision names class 0 of letters "N/A"

    def read(self, raw: Path, image_name: str, label_name: str, classes: int) -> Samples:
        """Return a split of the folder `raw`, its images upright."""
        stored = read_split(raw, image_name, label_name, classes, self._first_label)
        return Samples(stored.inputs.mT.contiguous(), stored.targets)

    def fetch(self) -> None:
        """Have torchvision download the archive of all six splits."""
        self.source(self.root, split=self.split, download=True)
