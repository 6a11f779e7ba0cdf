"""EMNIST: handwritten letters and digits, in six groupings, in torchvision's layout.

The files hold every image transposed, and the `letters` count their labels from 1; here images are
upright and labels count from 0.
"""

from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Literal, TypeAlias

from pydantic import Field

from bptrain.data.images.mnist import RawImagesConfig, read_split
from bptrain.data.splits import Samples

Grouping: TypeAlias = Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"]

MERGED = digits + ascii_uppercase + "abdefghnqrt"  # other lowercase letters look like uppercase
CLASSES: dict[str, str] = {
    "byclass": digits + ascii_uppercase + ascii_lowercase,
    "bymerge": MERGED,
    "balanced": MERGED,
    "letters": ascii_lowercase,
    "digits": digits,
    "mnist": digits,
}


class EMNISTConfig(RawImagesConfig):
    """EMNIST: up to 814,255 handwritten letters and digits, grayscale, 28 x 28 pixels."""

    kind: Literal["emnist"] = "emnist"
    split: Grouping = Field(
        default="balanced",
        description="which characters, and how they are grouped into classes: byclass (62 classes, "
        "unbalanced), bymerge (47: letters whose two cases look alike are merged), balanced (47, "
        "equally many images of each), letters (26, cases merged), digits or mnist (10)",
    )

    source = "EMNIST"

    def files(self) -> dict[str, tuple[str, str]]:
        """Return the names of the image file and the label file of each split."""
        stems = {part: f"emnist-{self.split}-{part}" for part in ("train", "test")}
        return {
            part: (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte")
            for part, stem in stems.items()
        }

    def class_names(self) -> tuple[str, ...]:
        """Return the characters of the classes."""
        return tuple(CLASSES[self.split])

    def read(self, raw: Path, image_name: str, label_name: str, classes: int) -> Samples:
        """Return a split of the folder `raw`, its images upright."""
        first_label = 1 if self.split == "letters" else 0
        stored = read_split(raw, image_name, label_name, classes, first_label)
        return Samples(stored.inputs.mT.contiguous(), stored.targets)

    def download_options(self) -> dict[str, str]:
        """Return the split; the download is one archive of all six."""
        return {"split": self.split}
