"""Small image data sets on disk, in the layouts of the real ones."""

import pickle
from pathlib import Path

import numpy as np
from PIL import Image
from small_files import idx_bytes

TRAIN_FILES = [f"data_batch_{number}" for number in range(1, 6)]


def photos(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return pixels [N, 3072] whose brightest rows and color depend on the label."""
    pixels = np.random.default_rng(seed).integers(0, 60, (len(labels), 3, 32, 32))
    for image, label in zip(pixels, labels, strict=True):
        image[label % 3, label % 32] += 180
    return pixels.astype(np.uint8).reshape(len(labels), -1)


def cifar_bytes(labels: np.ndarray, seed: int, coarse: bool = False) -> bytes:
    """Return a file of the binary version."""
    columns = [labels // 5, labels] if coarse else [labels]
    before = np.stack(columns, 1).astype(np.uint8)
    return np.concatenate([before, photos(labels, seed)], 1).tobytes()


def cifar_pickle(labels: np.ndarray, seed: int, key: str, protocol: int = 4) -> bytes:
    """Return a file of the python version, as Python 3 writes it."""
    held = {
        "batch_label": "a batch",
        key: labels.tolist(),
        "data": photos(labels, seed),
        "filenames": [f"{number}.png" for number in range(len(labels))],
    }
    return pickle.dumps(held, protocol)


def python2_pickle(labels: np.ndarray, seed: int, key: str) -> bytes:
    """Return a file of the python version with the opcodes of Python 2, as the published ones."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    data = photos(labels, seed)
    numbers = b"".join(b"K" + bytes([label]) for label in labels.tolist())
    shape = b"M" + len(labels).to_bytes(2, "little") + b"M" + (3072).to_bytes(2, "little") + b"\x86"
    raw = b"T" + data.nbytes.to_bytes(4, "little") + data.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85" + text(
        b"b"
    )
    dtype = b"cnumpy\ndtype\nq\x08" + text(b"u1") + b"K\x00K\x01\x87R"
    state = b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array += b"\x87R(K\x01" + shape + dtype + state + b"\x89" + raw + b"tb"
    labels_list = text(key.encode()) + b"q\x03]q\x04(" + numbers + b"e"
    return b"\x80\x02}q\x01(" + labels_list + text(b"data") + array + b"u."


def write_cifar10(root: Path, version: str = "binary", images: int = 40) -> Path:
    """Write CIFAR-10's files, small: version binary, python or python2."""
    folder = root / ("cifar-10-batches-bin" if version == "binary" else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    labels = np.arange(images) % 10
    for seed, name in enumerate([*TRAIN_FILES, "test_batch"]):
        if version == "binary":
            (folder / f"{name}.bin").write_bytes(cifar_bytes(labels, seed))
        else:
            write = cifar_pickle if version == "python" else python2_pickle
            (folder / name).write_bytes(write(labels, seed, "labels"))
    names = [f"class {number}" for number in range(10)]
    if version == "binary":
        (folder / "batches.meta.txt").write_text("\n".join(n.replace(" ", "-") for n in names))
    else:
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, 2))
    return root


def write_cifar100(root: Path, version: str = "binary", images: int = 300) -> Path:
    """Write CIFAR-100's files, small: version binary or python."""
    folder = root / ("cifar-100-binary" if version == "binary" else "cifar-100-python")
    folder.mkdir(parents=True)
    labels = np.arange(images) % 100
    for seed, name in enumerate(["train", "test"]):
        if version == "binary":
            (folder / f"{name}.bin").write_bytes(cifar_bytes(labels, seed, coarse=True))
        else:
            (folder / name).write_bytes(cifar_pickle(labels, seed, "fine_labels"))
    return root


def write_emnist(root: Path, split: str = "balanced", classes: int = 47, first: int = 0) -> Path:
    """Write EMNIST's files, small and transposed: the bright row is a column in them."""
    raw = root / "EMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 4 * classes), ("test", classes)):
        labels = np.arange(count) % classes
        images = np.zeros((count, 28, 28), np.uint8)
        images[np.arange(count), :, labels % 28] = 200
        stem = raw / f"emnist-{split}-{part}"
        stem.with_name(f"{stem.name}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        stem.with_name(f"{stem.name}-labels-idx1-ubyte").write_bytes(idx_bytes(labels + first))
    return root


def picture(label: int, number: int, size: tuple[int, int] = (20, 24)) -> Image.Image:
    """Return a picture [H, W] = size with a bright bar whose position gives its class."""
    random = np.random.default_rng([label, number])
    pixels = random.integers(0, 60, (*size, 3), np.uint8)
    pixels[4 + 3 * label : 6 + 3 * label, :, label % 3] = 240
    return Image.fromarray(pixels)


def write_folder(root: Path, images: int = 12, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Write a folder of pictures for each class."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(images):
            picture(label, number).save(root / name / f"{number:03}.png")
    return root
