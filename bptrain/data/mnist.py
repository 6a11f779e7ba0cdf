"""MNIST and Fashion-MNIST: 60,000 + 10,000 images of 28 x 28, in torchvision's folder layout."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from torchvision import datasets

from bptrain.data.idx import read_idx
from bptrain.data.splits import Dataset, InMemoryConfig, Parts, Samples, hold_out, standardize
from bptrain.errors import DataError
from bptrain.problem import Problem

CLASSES = 10
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class RawImagesConfig(InMemoryConfig):
    """What the data sets in MNIST's format share: `source` names the folder and the download."""

    root: str = Field(default="data", min_length=1, description="folder of the data sets")

    source: ClassVar[type[datasets.MNIST]]
    names: ClassVar[tuple[str, ...]]

    def build(self, seed: int) -> Dataset:
        """Return the data set, the validation samples drawn by `seed`."""
        raw = Path(self.root) / self.source.__name__ / "raw"
        if any(find(raw, name) is None for names in FILES.values() for name in names):
            self.download()
        train, test = (read_split(raw, *names) for names in FILES.values())
        train, validation = hold_out(train, self.validation_fraction, seed)
        parts, prepared = standardize(Parts(train, validation, test))
        problem = Problem("classification", (1, 28, 28), CLASSES, names=self.names)
        return Dataset(problem, parts.train, parts.validation, parts.test, prepared)

    def download(self) -> None:
        """Fetch the files into `root`, torchvision checking each one's checksum."""
        try:
            self.source(self.root, download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{self.source.__name__} is not in {self.root} and could not be downloaded",
                str(error),
                f"put the four files, gzipped or not, into {self.root}/{self.source.__name__}/raw",
            ) from error


class MNISTConfig(RawImagesConfig):
    """Handwritten digits: read from ROOT/MNIST/raw, or downloaded into it by torchvision."""

    kind: Literal["mnist"] = "mnist"

    source = datasets.MNIST
    names = tuple("0123456789")


class FashionMNISTConfig(RawImagesConfig):
    """Images of clothes: read from ROOT/FashionMNIST/raw, or downloaded into it by torchvision."""

    kind: Literal["fashion_mnist"] = "fashion_mnist"

    source = datasets.FashionMNIST
    names = tuple(datasets.FashionMNIST.classes)


def find(raw: Path, name: str) -> Path | None:
    """Return the path of a raw file, plain or gzipped, or None."""
    candidates = (raw / name, raw / f"{name}.gz")
    return next((path for path in candidates if path.exists()), None)


def read_split(raw: Path, image_name: str, label_name: str) -> Samples:
    """Return the images [N, 1, 28, 28] and labels [N] of a pair of files, checked."""
    image_path, label_path = find(raw, image_name), find(raw, label_name)
    if image_path is None or label_path is None:
        raise DataError(f"{raw}: {image_name} or {label_name} is missing")
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
    if labels.max() >= CLASSES:
        row = int(labels.argmax())
        raise DataError(f"{label_path}: label {int(labels[row])} in row {row}, expected 0 to 9")
    return Samples(images.unsqueeze(1), labels.long())
