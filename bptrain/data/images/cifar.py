"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 color photos of 32 x 32, in the published layouts.

Binary version, read if it is there
    ROOT/cifar-10-batches-bin/data_batch_{1..5}.bin, test_batch.bin   label, then the pixels
    ROOT/cifar-100-binary/{train,test}.bin              coarse label, fine label, then the pixels
Python version, torchvision's, read otherwise, and downloaded if neither is there
    ROOT/cifar-10-batches-py/data_batch_{1..5}, test_batch            a dict: data, labels
    ROOT/cifar-100-python/{train,test}                                a dict: data, fine_labels
An image is 3,072 bytes: its red, green and blue planes, row by row. Archives beside the folders are
ignored. The names of the classes come from a list in the folder, if it has one.
Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bptrain.config.paths import DataPath
from bptrain.data.contents import contents_of
from bptrain.data.data_file import is_directory, mode_of
from bptrain.data.images.cifar_pickle import read_pickled_dict
from bptrain.data.images.image_file import ImageShape, prepare_images
from bptrain.data.images.images_config import ImagesConfig
from bptrain.data.images.published_checksums import verify_published
from bptrain.data.splits import Dataset, Parts, Samples, hold_out, standardize
from bptrain.errors import DataError
from bptrain.problem import Problem

SHAPE = ImageShape(32, 32, channels=3)
PIXELS = 3 * 32 * 32
LARGEST_BYTES = 2**30  # of one file; the largest published one has 155 MB


class Layout(NamedTuple):
    """One version of a set on disk."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str  # the file with the names of the classes
    label: str | int  # the key of the labels; or the bytes before an image, the last is its label
    names_key: str = ""


class CIFARConfig(ImagesConfig):
    """The common part of both data sets; `source` is torchvision's class."""

    root: DataPath = Field(
        default="data",
        min_length=1,
        description="folder of the data sets, with the published layout below it "
        "(ROOT/cifar-10-batches-py/... or the binary version); downloaded into it if missing",
    )

    source: ClassVar[str]
    classes: ClassVar[int]
    binary: ClassVar[Layout]
    python: ClassVar[Layout]

    def build(self, seed: int) -> Dataset:
        """Return the data set; `seed` selects the validation samples."""
        root = Path(self.root)
        layout = self.binary if is_directory(root / self.binary.folder) else self.python
        if layout is self.python and not is_directory(root / layout.folder):
            self.download()
        folder = root / layout.folder
        train, test = (read_split(folder, layout, each, self.classes) for each in layout[1:3])
        train, validation = hold_out(train, self.validation_fraction, seed)
        read = Parts(train, validation, test)
        parts, prepared = standardize(read, by_channel=True)
        names = read_names(folder, layout, self.classes)
        problem = Problem("classification", SHAPE.chw, self.classes, names=names)
        splits = (parts.train, parts.validation, parts.test)
        dataset = Dataset(problem, *splits, prepared, contents_of(read))
        return self.augmented(dataset)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return image files as inputs: RGB, cropped and scaled to 32 x 32."""
        return prepare_images(words, SHAPE, prepared)

    def download(self) -> None:
        """Have torchvision fetch the python version into `root` and check its checksum."""
        # torchvision takes two seconds to import, and files that are there do not need it
        from torchvision import datasets
        from torchvision.datasets.utils import download_and_extract_archive

        source = getattr(datasets, self.source)
        try:
            download_and_extract_archive(
                source.url, self.root, filename=source.filename, md5=source.tgz_md5
            )
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{self.source} is not in {self.root} and could not be downloaded",
                str(error),
                f"unpack {self.python.folder} or {self.binary.folder} into {self.root}",
            ) from error


class CIFAR10Config(CIFARConfig):
    """CIFAR-10: 60,000 photos of animals and vehicles in 10 classes, RGB, 32 x 32 pixels."""

    kind: Literal["cifar10"] = "cifar10"

    source = "CIFAR10"
    classes = 10
    binary = Layout(
        "cifar-10-batches-bin",
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        ("test_batch.bin",),
        names="batches.meta.txt",
        label=1,
    )
    python = Layout(
        "cifar-10-batches-py",
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        ("test_batch",),
        names="batches.meta",
        label="labels",
        names_key="label_names",
    )


class CIFAR100Config(CIFARConfig):
    """CIFAR-100: 60,000 photos in 100 classes (the fine labels), RGB, 32 x 32 pixels."""

    kind: Literal["cifar100"] = "cifar100"

    source = "CIFAR100"
    classes = 100
    binary = Layout(
        "cifar-100-binary", ("train.bin",), ("test.bin",), names="fine_label_names.txt", label=2
    )
    python = Layout(
        "cifar-100-python",
        ("train",),
        ("test",),
        names="meta",
        label="fine_labels",
        names_key="fine_label_names",
    )


def read_split(folder: Path, layout: Layout, files: Sequence[str], classes: int) -> Samples:
    """Return the images [N, 3, 32, 32] and labels [N] of the files, checked."""
    read = [read_batch(folder / name, layout, classes) for name in files]
    images, labels = (torch.cat(each) for each in zip(*read, strict=True))
    return Samples(images.view(-1, *SHAPE.chw), labels)


def read_batch(path: Path, layout: Layout, classes: int) -> tuple[Tensor, Tensor]:
    """Return the pixels [N, 3072] and labels [N] of one file, or raise DataError."""
    if not stat.S_ISREG(mode_of(path)):
        raise DataError(
            f"{path}: missing, or not a regular file",
            hint=f"remove {layout.folder} to have the set downloaded, or unpack it again",
        )
    verify_published(path, layout.folder)
    pixels, labels = (
        read_binary(path, layout.label)
        if isinstance(layout.label, int)
        else read_python(path, layout.label)
    )
    if len(labels) == 0:
        raise DataError(f"{path}: holds no image")
    if not 0 <= labels.min() <= labels.max() < classes:
        row = int(((labels < 0) | (labels >= classes)).argmax())
        raise DataError(f"{path}: label {labels[row]} in row {row}, expected 0 to {classes - 1}")
    return torch.from_numpy(pixels), torch.from_numpy(labels)


def read_binary(path: Path, before: int) -> tuple[Any, Any]:
    """Return pixels and labels of the binary version, with `before` bytes before each image."""
    size, width = path.stat().st_size, before + PIXELS
    if size % width:
        raise DataError(
            f"{path}: {size:,} bytes are not a whole number of images of {width:,} bytes",
            f"it ends inside row {size // width}, which begins at byte {size // width * width:,}",
            "fetch the file again",
        )
    if size > LARGEST_BYTES:
        raise DataError(f"{path}: {size:,} bytes, at most {LARGEST_BYTES:,} are read")
    try:
        rows = np.fromfile(path, np.uint8).reshape(-1, width)
    except OSError as error:
        raise DataError(f"{path}: cannot be read", str(error)) from error
    return rows[:, before:].copy(), rows[:, before - 1].astype(np.int64)


def read_python(path: Path, label_key: str) -> tuple[Any, Any]:
    """Return pixels and labels of the python version; nothing in the file is run."""
    held = read_pickled_dict(path)
    pixels, labels = held.get("data"), held.get(label_key)
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        found = list(pixels.shape) if isinstance(pixels, np.ndarray) else "none"
        raise DataError(f"{path}: 'data' has the shape {found}, expected [N, {PIXELS}]")
    if not isinstance(labels, list) or not all(type(each) is int for each in labels):
        raise DataError(f"{path}: '{label_key}' is not a list of integers")
    if len(labels) != len(pixels):
        raise DataError(f"{path}: {len(labels):,} labels for {len(pixels):,} images")
    # a label beyond 64 bits is out of range anyway
    bounded = [max(-1, min(each, 2**31)) for each in labels]
    return np.array(pixels, order="C"), np.array(bounded, dtype=np.int64)


def read_names(folder: Path, layout: Layout, classes: int) -> tuple[str, ...]:
    """Return the names of the classes, or none if the file that lists them is missing."""
    path = folder / layout.names
    if not stat.S_ISREG(mode_of(path)):
        return ()
    verify_published(path, layout.folder)
    if layout.names_key:
        names = read_pickled_dict(path).get(layout.names_key)
    else:
        with path.open("rb") as file:
            names = file.read(65_536).decode("utf-8", "replace").split()
    given = names if isinstance(names, list) else []
    if len(given) != classes or not all(isinstance(name, str) for name in given):
        raise DataError(f"{path}: not a list of {classes} names")
    return tuple(given)
