"""Every kind of data, small: configs, inputs of `predict`, and the expected answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import image_sets
import numpy as np
import pytest
import sounds
from small_files import idx_bytes, write_mnist
from torchvision import datasets

MLP = "{kind: mlp, hidden: [8]}"
RNN = "{kind: rnn, cell: gru, hidden: 8}"
DIGITS = [str(digit) for digit in range(10)]


@dataclass(frozen=True)
class Kind:
    """A kind of data: its config, the inputs of `predict`, and the expected answers.

    write   writes the data and the inputs into the current folder, which is empty
    inputs  none where `predict` is refused
    names   the classes, or the columns of a regression
    values  what the inputs hold, as JSON has it; None where inputs are files
    """

    data: str
    model: str
    task: str
    inputs: Sequence[str] = ()
    names: Sequence[str] = ()
    write: Callable[[], object] = lambda: None
    answers: int = 1
    values: Callable[[], list[Any]] | None = None


def write_drawing() -> None:
    image_sets.picture(1, 0, (40, 30)).save("drawing.png")


def write_idx(name: str) -> None:
    """Write a set in MNIST's format, and a drawing."""
    labels = np.arange(100) % 10
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28))
    files = {
        f"{prefix}-{part}": idx_bytes(array)
        for prefix in ("train", "t10k")
        for part, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels))
    }
    write_mnist(Path("data"), files, name)
    write_drawing()


def write_table() -> None:
    rows = [f"{row / 7},{'ab'[row % 2]},{['yes', 'no'][row % 2]},{row * 1.5}" for row in range(40)]
    Path("table.csv").write_text("\n".join(["x,c,y,price", *rows]))
    Path("new.csv").write_text("c,x\na,1.5\n,\n")


def write_text() -> None:
    Path("verse.txt").write_text("round and round the rugged rock\n" * 20)
    Path("prompt.txt").write_text("the rug")


def write_text_folder() -> None:
    write_texts()
    for number in range(20):
        path = Path("opinions", ["con", "pro"][number % 2], f"{number}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"a {['bad', 'good'][number % 2]} idea, no {number}")


def write_texts() -> None:
    rows = [["a good film,pro", "a bad one,con"][row % 2] for row in range(40)]
    Path("opinions.csv").write_text("\n".join(["text,label", *rows]))
    Path("unseen.txt").write_text("neither good nor bad, in a file of its own")


def write_recordings() -> None:
    sounds.write_folder(Path("sounds"), sounds.digits(6))


def write_sequences(task: str) -> None:
    """Write sequences of two to four steps with a target, numbers or a class for each step."""
    lengths = np.arange(40) % 3 + 2
    targets = {
        "classification": lengths % 2,
        "regression": np.stack([lengths, -lengths], 1) / 3,
        "tagging": np.arange(lengths.sum()) % 3,
    }[task]
    values = np.random.default_rng(0).normal(size=(lengths.sum(), 2))
    np.savez("train.npz", values=values, lengths=lengths, targets=targets)
    np.savez("new.npz", values=values[:5], lengths=lengths[:2])


def new_sequences() -> list[Any]:
    arrays = np.load("new.npz")
    ends = np.cumsum(arrays["lengths"])[:-1]
    return [each.tolist() for each in np.split(arrays["values"], ends)]


def idx(kind: str, folder: str, names: Sequence[str]) -> Kind:
    return Kind(
        f"kind: {kind}, root: data",
        MLP,
        "classification",
        DRAWING,
        names,
        lambda: write_idx(folder),
    )


def cifar(kind: str, names: Sequence[str], write: Callable[[Path], object]) -> Kind:
    def both() -> None:
        write(Path("data"))
        write_drawing()

    return Kind(f"kind: {kind}, root: data", MLP, "classification", DRAWING, names, both)


def folder() -> None:
    image_sets.write_folder(Path("data"))
    write_drawing()


def letters() -> None:
    image_sets.write_emnist(Path("data"), "letters", 26, first=1)
    write_drawing()


def sequence(task: str, names: Sequence[str]) -> Kind:
    return Kind(
        "kind: sequence, path: train.npz",
        RNN,
        task,
        ["new.npz"],
        names,
        lambda: write_sequences(task),
        answers=2,
        values=new_sequences,
    )


def image_table(target: str, task: str, names: Sequence[str]) -> Kind:
    def write() -> None:
        folder()
        files = sorted(Path("data").rglob("*.png"))
        rows = [f"{path},{path.parent.name},{n}.5" for n, path in enumerate(files)]
        Path("labels.csv").write_text("\n".join(["file,kind,age", *rows]))

    data = f"kind: image_table, path: labels.csv, target: {target}, size: 16"
    return Kind(data, MLP, task, DRAWING, names, write)


DRAWING = ["drawing.png"]
NEW_ROWS = [{"c": "a", "x": 1.5}, {"c": None, "x": None, "other": 1}]  # as in new.csv
TABLE = "kind: table, path: table.csv, columns: [x, c], target"
SOUNDS = (
    "kind: audio_folder, path: sounds, pattern: '{label}_{speaker}_{index}.wav', "
    "sample_rate: 8000, features: {n_fft: 256, hop: 80, mels: 8}"
)
SPELLING = (
    f"spelling: {{{', '.join(f'{digit!r}: {name}' for digit, name in enumerate('abcdefghij'))}}}"
)
RECORDED = ["sounds/3_a_0.wav", "sounds/8_b_1.wav"]
CLOTHES = list(datasets.FashionMNIST.classes)
LETTERS = [chr(ord("a") + letter) for letter in range(26)]

KINDS: dict[str, Kind] = {
    "digits": Kind("kind: digits", MLP, "classification", DRAWING, DIGITS, write_drawing),
    "mnist": idx("mnist", "MNIST", DIGITS),
    "fashion_mnist": idx("fashion_mnist", "FashionMNIST", CLOTHES),
    "kmnist": idx("kmnist", "KMNIST", datasets.KMNIST.classes),
    "emnist": Kind(
        "kind: emnist, root: data, split: letters", MLP, "classification", DRAWING, LETTERS, letters
    ),
    "cifar10": cifar("cifar10", [f"class-{n}" for n in range(10)], image_sets.write_cifar10),
    "cifar100": cifar("cifar100", [str(n) for n in range(100)], image_sets.write_cifar100),
    "image_folder": Kind(
        "kind: image_folder, root: data, size: 16",
        MLP,
        "classification",
        DRAWING,
        ["cat", "dog"],
        folder,
    ),
    "image_table of classes": image_table("kind", "classification", ["cat", "dog"]),
    "image_table of numbers": image_table("age", "regression", ["age"]),
    "table of classes": Kind(
        f"{TABLE}: y",
        MLP,
        "classification",
        ["new.csv"],
        ["no", "yes"],
        write_table,
        answers=2,
        values=lambda: NEW_ROWS,
    ),
    "table of numbers": Kind(
        f"{TABLE}: price, scale_target: true",
        MLP,
        "regression",
        ["new.csv"],
        ["price"],
        write_table,
        answers=2,
        values=lambda: NEW_ROWS,
    ),
    "text": Kind(
        "kind: text, path: verse.txt, window: 8, test_fraction: 0.1",
        RNN,
        "language_model",
        ["rou", "prompt.txt"],
        write=write_text,
        answers=2,
        values=lambda: ["rou", Path("prompt.txt").read_text()],
    ),
    "text_table": Kind(
        "kind: text_table, path: opinions.csv",
        RNN,
        "classification",
        ["a good idea", "unseen.txt"],
        ["con", "pro"],
        write_texts,
        answers=2,
        values=lambda: ["a good idea", Path("unseen.txt").read_text()],
    ),
    "text_folder": Kind(
        "kind: text_folder, root: opinions",
        RNN,
        "classification",
        ["a good idea", "unseen.txt"],
        ["con", "pro"],
        write_text_folder,
        answers=2,
        values=lambda: ["a good idea", Path("unseen.txt").read_text()],
    ),
    "audio_folder of classes": Kind(
        f"{SOUNDS}, seconds: 0.25",
        MLP,
        "classification",
        RECORDED,
        DIGITS,
        write_recordings,
        answers=2,
    ),
    "audio_folder of texts": Kind(
        f"{SOUNDS}, seconds: null, task: transcription, {SPELLING}",
        RNN,
        "transcription",
        RECORDED,
        list("abcdefghij"),
        write_recordings,
        answers=2,
    ),
    "sequence of a class": sequence("classification", ["0", "1"]),
    "sequence of numbers": sequence("regression", ["0", "1"]),
    "sequence of tags": sequence("tagging", ["0", "1", "2"]),
    "xor": Kind("kind: xor, samples: 40", MLP, "classification"),
    "spirals": Kind("kind: spirals, samples: 40", MLP, "classification"),
    "adding": Kind("kind: adding, samples: 40, length: 5", RNN, "regression"),
    "copy": Kind("kind: copy, samples: 40, delay: 2", RNN, "tagging"),
    "parity": Kind("kind: parity, samples: 40", RNN, "classification"),
    "parity of each step": Kind("kind: parity, samples: 40, task: tagging", RNN, "tagging"),
}


LIKE_OTHERS = {  # whose batches look like those of others
    *("mnist", "fashion_mnist", "kmnist", "emnist", "cifar10", "cifar100"),
    *("image_folder", "image_table of classes", "text_folder", "audio_folder of classes"),
}


def kinds_with_few_alike() -> list[Any]:
    """Return the names of all kinds, those that are like others marked slow.

    For what does not depend on where the data comes from; test_every_kind_of_data.py trains all.
    """
    marks = {True: pytest.mark.slow, False: ()}
    return [pytest.param(name, marks=marks[name in LIKE_OTHERS]) for name in KINDS]
