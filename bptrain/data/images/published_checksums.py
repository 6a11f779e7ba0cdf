"""MD5 of the published files of known data sets, to find damage that no header shows.

A file with the name and the size of a published one must be that one. A file of another size is
taken for a data set of the user's own in the same format, of which only the structure is checked.
The binary CIFAR files, EMNIST's and the test half of CIFAR-100 are checked by their structure
alone: no size or MD5 of them is published.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from bptrain.errors import DataError

IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"


class Published(NamedTuple):
    """A published file; the MD5 are torchvision's, and a test compares them with its lists."""

    size_bytes: int
    md5: str


PUBLISHED = {  # by folder and name
    "MNIST/raw": {
        f"train-{IMAGES}": Published(9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        f"train-{LABELS}": Published(28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        f"t10k-{IMAGES}": Published(1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        f"t10k-{LABELS}": Published(4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    },
    "FashionMNIST/raw": {
        f"train-{IMAGES}": Published(26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        f"train-{LABELS}": Published(29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        f"t10k-{IMAGES}": Published(4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        f"t10k-{LABELS}": Published(5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    },
    "KMNIST/raw": {
        f"train-{IMAGES}": Published(18_165_135, "bdb82020997e1d708af4cf47b453dcf7"),
        f"train-{LABELS}": Published(29_497, "e144d726b3acfaa3e44228e80efcd344"),
        f"t10k-{IMAGES}": Published(3_041_136, "5c965bf0a639b31b8f53240b1b52f4d7"),
        f"t10k-{LABELS}": Published(5_120, "7320c461ea6c1c855c0b718fb2a4b134"),
    },
    "cifar-10-batches-py": {
        "data_batch_1": Published(31_035_704, "c99cafc152244af753f735de768cd75f"),
        "data_batch_2": Published(31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
        "data_batch_3": Published(31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
        "data_batch_4": Published(31_035_696, "634d18415352ddfa80567beed471001a"),
        "data_batch_5": Published(31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
        "test_batch": Published(31_035_526, "40351d587109b95175f43aff81a1287e"),
        "batches.meta": Published(158, "5ff9c542aee3614f3951f8cda6e48888"),
    },
    "cifar-100-python": {
        "train": Published(155_249_918, "16019d7e3df5f24257cddd939b257f8d"),
        "meta": Published(1_473, "7973b15100ade9c7d40fb424638fde48"),
    },
}


def verify_published(path: Path, folder: str) -> None:
    """Raise DataError if a file has the name and size of a published one but not its content.

    folder  of the file, as it is called in the data set's layout
    """
    published = PUBLISHED.get(folder, {}).get(path.name)
    if published is None or path.stat().st_size != published.size_bytes:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != published.md5:
        raise DataError(
            f"{path}: damaged, or not the published file",
            f"it has the name and size of that; its MD5 is {found}, not {published.md5}",
            "fetch it again, or remove the folder to have it downloaded",
        )
