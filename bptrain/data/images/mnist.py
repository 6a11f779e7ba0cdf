"""MNIST and the data sets in its format: grayscale images of 28 x 28, in torchvision's layout.

All of them are white on black: 0 is the background, 255 the ink.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from bptrain.config.paths import DataPath
from bptrain.data.contents import contents_of
from bptrain.data.data_file import exists
from bptrain.data.images.idx_file import read_idx
from bptrain.data.images.image_file import ImageShape, prepare_images
from bptrain.data.images.images_config import ImagesConfig
from bptrain.data.images.published_checksums import verify_published
from bptrain.data.splits import Dataset, Parts, Samples, hold_out, standardize
from bptrain.errors import DataError
from bptrain.problem import Problem

SHAPE = ImageShape(28, 28, channels=1)
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class RawImagesConfig(ImagesConfig):
    """The data sets in MNIST's format.

    source         torchvision's class, which is also the name of the folder
    names          of the classes, in the order of their labels
    invert_bright  whether an image to predict that is bright at all four corners is inverted
    """

    root: DataPath = Field(
        default="data",
        min_length=1,
        description="folder of the data sets, with torchvision's layout below it "
        "(ROOT/MNIST/raw/..., gzipped or not); missing files are downloaded into it",
    )

    source: ClassVar[str]
    names: ClassVar[tuple[str, ...]]
    invert_bright: ClassVar[bool] = True

    def build(self, seed: int) -> Dataset:
        """Return the data set; `seed` selects the validation samples."""
        raw = Path(self.root) / self.source / "raw"
        files, names = self.files(), self.class_names()
        if any(find(raw, name) is None for pair in files.values() for name in pair):
            self.download()
        train, test = (self.read(raw, *pair, classes=len(names)) for pair in files.values())
        train, validation = hold_out(train, self.validation_fraction, seed)
        read = Parts(train, validation, test)
        parts, prepared = standardize(read)
        problem = Problem("classification", SHAPE.chw, len(names), names=names)
        splits = (parts.train, parts.validation, parts.test)
        dataset = Dataset(problem, *splits, prepared, contents_of(read))
        return self.augmented(dataset)

    def files(self) -> dict[str, tuple[str, str]]:
        """Return the names of the image file and the label file of each split."""
        return FILES

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        return self.names

    def read(self, raw: Path, image_name: str, label_name: str, classes: int) -> Samples:
        """Return a split of the folder `raw`."""
        return read_split(raw, image_name, label_name, classes)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return image files as inputs: grayscale, cropped and scaled to 28 x 28, white on black.

        An image that is bright at all four corners is ink on paper, and is inverted; not so for
        Fashion-MNIST, whose clothes may fill the corners.
        """
        return prepare_images(words, SHAPE, prepared, invert_bright=self.invert_bright)

    def download(self) -> None:
        """Have torchvision fetch the files into `root` and check their checksums."""
        # torchvision takes two seconds to import, and files that are there do not need it
        from torchvision import datasets

        try:
            getattr(datasets, self.source)(self.root, download=True, **self.download_options())
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{self.source} is not in {self.root} and could not be downloaded",
                str(error),
                f"put the four files, gzipped or not, into {self.root}/{self.source}/raw",
            ) from error

    def download_options(self) -> dict[str, str]:
        """Return further arguments of torchvision's class."""
        return {}


class MNISTConfig(RawImagesConfig):
    """MNIST: 70,000 handwritten digits, grayscale, 28 x 28 pixels."""

    kind: Literal["mnist"] = "mnist"

    source = "MNIST"
    names = tuple("0123456789")


class FashionMNISTConfig(RawImagesConfig):
    """Fashion-MNIST: 70,000 photos of clothes in 10 classes, grayscale, 28 x 28 pixels."""

    kind: Literal["fashion_mnist"] = "fashion_mnist"

    source = "FashionMNIST"
    names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    invert_bright = False


class KMNISTConfig(RawImagesConfig):
    """KMNIST: 70,000 cursive Japanese letters in 10 classes, grayscale, 28 x 28 pixels."""

    kind: Literal["kmnist"] = "kmnist"

    source = "KMNIST"
    names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


def find(raw: Path, name: str) -> Path | None:
    """Return the path of a raw file, plain or gzipped, or None."""
    candidates = (raw / name, raw / f"{name}.gz")
    return next((path for path in candidates if exists(path)), None)


def read_split(
    raw: Path, image_name: str, label_name: str, classes: int, first_label: int = 0
) -> Samples:
    """Return the images [N, 1, 28, 28] and labels [N] of a pair of files, checked.

    first_label  the label of class 0 in the file
    """
    image_path, label_path = find(raw, image_name), find(raw, label_name)
    if image_path is None or label_path is None:
        raise DataError(f"{raw}: {image_name} or {label_name} is missing")
    for path in (image_path, label_path):
        verify_published(path, "/".join(raw.parts[-2:]))
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    if images.shape[1:] != (28, 28) or len(images) == 0:
        raise DataError(
            f"{image_path}: shape {list(images.shape)}, expected [N, 28, 28] with N > 0"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{label_path}: {len(labels):,} labels for {len(images):,} images",
            f"the images are in {image_path.name}",
        )
    numbers = labels.long() - first_label
    wrong = ((numbers < 0) | (numbers >= classes)).nonzero().view(-1)
    if len(wrong):
        row, last = int(wrong[0]), first_label + classes - 1
        raise DataError(
            f"{label_path}: label {int(labels[row])} in row {row}, expected {first_label} to {last}"
        )
    return Samples(images.unsqueeze(1), numbers)
