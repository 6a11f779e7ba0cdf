"""A bank of training runs that are sick in a known way, and of healthy ones.

Each case is a config, small enough for a run of seconds; files of data are made where it asks for
them; what no key of a config can spoil, such as a bias of -10, is done to the built model. The
thresholds were set on the cases of sick.py and healthy.py; the others judge them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from base import Config
from torch import nn

Alter = Callable[[nn.Module], None]


@dataclass(frozen=True)
class Case:
    """A run, and what is wrong with it.

    kinds    the verdicts that are right; none for a healthy run
    layer    what the named layer must contain
    alter    spoils the model before the first step
    control     the run without the fault, in controls.py
    """

    name: str
    config: Config
    kinds: tuple[str, ...] = ()
    layer: str = ""
    alter: Alter | None = None
    control: str = ""


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Return the layers with a weight matrix, in order; recurrent ones too."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.RNNBase)
    return [each for each in model.modules() if isinstance(each, kinds)]


def scaled(factor: float) -> Alter:
    """Return what multiplies the weight matrices of every hidden layer."""

    def alter(model: nn.Module) -> None:
        for layer in layers_of(model)[:-1]:
            for name, parameter in layer.named_parameters():
                if "weight" in name:
                    parameter.data *= factor

    return alter


def recurrent_scaled(factor: float) -> Alter:
    """Return what multiplies the recurrent weights."""

    def alter(model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if "weight_hh" in name:
                parameter.data *= factor

    return alter


def biased(value: float, *numbers: int) -> Alter:
    """Return what sets the biases of hidden layers, all or those of these numbers."""

    def alter(model: nn.Module) -> None:
        for number, layer in enumerate(layers_of(model)[:-1]):
            if not numbers or number in numbers:
                for name, parameter in layer.named_parameters():
                    if "bias" in name:
                        parameter.data.fill_(value)

    return alter


def write_files(folder: Path) -> None:
    """Write the files of data that the cases read."""
    random = np.random.default_rng(0)
    x = random.normal(size=(1200, 6))
    logits = x[:, 0] * 2 - x[:, 1] + x[:, 2] * x[:, 3]
    yes = logits + random.normal(size=1200) * 0.3 > 0
    write_table(folder / "table.csv", x, np.where(yes, "yes", "no"))
    value = logits + random.normal(size=1200) * 0.3
    write_table(folder / "price.csv", x, value)
    write_table(folder / "dear.csv", x, value * 2e4)
    write_table(folder / "offset.csv", x, value + 3000)
    write_table(folder / "noise.csv", x, random.permutation(np.where(yes, "yes", "no")))
    write_table(folder / "unrelated.csv", x, random.normal(size=1200))
    few = random.random(1200) < 0.05
    write_table(folder / "rare.csv", random.normal(size=(1200, 6)) + few[:, None] * 0.3, few)
    rarer = random.random(1200) < 0.03
    write_table(folder / "rarer.csv", random.normal(size=(1200, 6)) + rarer[:, None] * 0.3, rarer)
    three = random.choice(3, 1200, p=[0.94, 0.03, 0.03])
    names = np.array(["usual", "odd", "strange"])[three]
    write_table(folder / "odd.csv", random.normal(size=(1200, 6)) + three[:, None] * 0.2, names)
    wide = random.normal(size=(80, 30))
    small = np.where(wide[:, 0] + random.normal(size=80) * 1.5 > 0, "yes", "no")
    write_table(folder / "small.csv", wide, small)
    write_series(folder, random)
    line = "the quick brown fox jumps over the lazy dog and runs round and round the rugged rock\n"
    (folder / "verse.txt").write_text(line * 60)
    write_opinions(folder / "opinions.csv", np.random.default_rng(2))
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz "))
    (folder / "letters.txt").write_text("".join(random.choice(letters, 6000)))


def write_table(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    """Write a CSV file of columns x0, x1, ... and y."""
    header = ",".join([*(f"x{n}" for n in range(x.shape[1])), "y"])
    rows = [",".join([*(f"{v:.5f}" for v in row), str(t)]) for row, t in zip(x, y, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")


def write_opinions(path: Path, random: np.random.Generator) -> None:
    """Write sentences of different lengths, whose label is decided by one of their words."""
    decides = {"good": "pro", "useful": "pro", "poor": "con", "broken": "con"}
    words = np.array(["a", "the", "idea", "plan", "very", "quite", "was", "seems"])
    rows = ["text,label"]
    for _ in range(600):
        sentence = list(random.choice(words, random.integers(3, 9)))
        word = str(random.choice([*decides]))
        sentence.insert(int(random.integers(len(sentence))), word)
        rows.append(f"{' '.join(sentence)},{decides[word]}")
    path.write_text("\n".join(rows) + "\n")


def write_series(folder: Path, random: np.random.Generator) -> None:
    """Write waves of three frequencies: standardized, in large units, and few with noise."""
    n, length = 600, 24
    kind = np.arange(n) % 3
    phase = random.random((n, 1)) * 6.28
    wave = np.sin(np.arange(length) * (kind[:, None] + 1) * 0.35 + phase)
    wave = wave + random.normal(size=wave.shape) * 0.1
    x = wave[..., None].astype(np.float32)
    y = kind.astype(np.int64)
    early = np.random.default_rng(1).normal(size=(n, 80)) * 0.1
    early[:, :5] += (kind[:, None] - 1) * 1.5
    np.savez(folder / "early.npz", inputs=early[..., None].astype(np.float32), targets=kind)
    np.savez(folder / "series.npz", inputs=x, targets=y)
    np.savez(folder / "large.npz", inputs=(x * 300 + 2000).astype(np.float32), targets=y)
    np.savez(folder / "tiny.npz", inputs=(x * 1e-5).astype(np.float32), targets=y)
    np.savez(folder / "shuffled.npz", inputs=x, targets=random.permutation(y))
    noisy = (x[:60] + random.normal(size=x[:60].shape) * 2).astype(np.float32)
    np.savez(folder / "few.npz", inputs=noisy, targets=y[:60])
