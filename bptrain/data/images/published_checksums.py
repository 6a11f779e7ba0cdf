"""The published files of known data sets: who bears their name and size must be them.

torchvision publishes an MD5 for each file below. A file of the same name and of the very size of
the original is taken for the original, so a wrong MD5 means damage that no header shows. A file of
any other size is somebody's own set in the same format: its structure is checked, as ever, and
nothing else. The binary CIFAR files, EMNIST's, and the test half of CIFAR-100 are checked by their
structure alone: no MD5 of them, or no size, is published.
"""

import hashlib
from pathlib import Path

from torchvision import datasets

from bptrain.errors import DataError

IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"

SIZES = {  # bytes by folder and name
    "MNIST/raw": {
        f"train-{IMAGES}": 9_912_422,
        f"train-{LABELS}": 28_881,
        f"t10k-{IMAGES}": 1_648_877,
        f"t10k-{LABELS}": 4_542,
    },
    "FashionMNIST/raw": {
        f"train-{IMAGES}": 26_421_880,
        f"train-{LABELS}": 29_515,
        f"t10k-{IMAGES}": 4_422_102,
        f"t10k-{LABELS}": 5_148,
    },
    "KMNIST/raw": {
        f"train-{IMAGES}": 18_165_135,
        f"train-{LABELS}": 29_497,
        f"t10k-{IMAGES}": 3_041_136,
        f"t10k-{LABELS}": 5_120,
    },
    "cifar-10-batches-py": {
        "data_batch_1": 31_035_704,
        "data_batch_2": 31_035_320,
        "data_batch_3": 31_035_999,
        "data_batch_4": 31_035_696,
        "data_batch_5": 31_035_623,
        "test_batch": 31_035_526,
        "batches.meta": 158,
    },
    "cifar-100-python": {"train": 155_249_918, "meta": 1_473},
}


def _published() -> dict[str, dict[str, str]]:
    """Return the MD5 of each file, by folder and name, from torchvision's own lists."""
    found = {}
    for source in (datasets.MNIST, datasets.FashionMNIST, datasets.KMNIST):
        found[f"{source.__name__}/raw"] = dict(source.resources)
    for source in (datasets.CIFAR10, datasets.CIFAR100):
        meta = {source.meta["filename"]: source.meta["md5"]}
        found[source.base_folder] = {**dict(source.train_list + source.test_list), **meta}
    return found


MD5 = _published()


def verify_official(path: Path, folder: str) -> None:
    """Raise DataError if a file has the name and size of an original but not its content.

    folder  of the file, as it is called in a data set's layout
    """
    size = SIZES.get(folder, {}).get(path.name)
    if size is None or path.stat().st_size != size:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    expected = MD5[folder][path.name]
    if found != expected:
        raise DataError(
            f"{path}: damaged, or not the published file",
            f"it has its name and size; MD5 {found}, expected {expected}",
            "fetch it again, or remove the folder to have it downloaded",
        )
