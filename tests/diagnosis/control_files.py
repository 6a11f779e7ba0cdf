"""The files of data of the controls, and the same with a fault."""

from pathlib import Path

import numpy as np
from bank import write_table
from PIL import Image

ROWS, COLUMNS = 900, 8
SERIES, LENGTH = 540, 20
RECALLED = 60  # time steps, of which the first few decide


def write_control_files(folder: Path) -> None:
    """Write them, each from a generator of its own."""
    write_rows(folder, np.random.default_rng(31))
    write_rare(folder, np.random.default_rng(32))
    write_few(folder, np.random.default_rng(33))
    write_ramps(folder, np.random.default_rng(34))
    write_pictures(folder / "stripes", np.random.default_rng(35))
    write_sentences(folder, np.random.default_rng(36))


def write_rows(folder: Path, random: np.random.Generator) -> None:
    """Write rows of two classes and of a number: as they are, shuffled, and in other units."""
    x = random.normal(size=(ROWS, COLUMNS))
    score = x[:, 0] + np.abs(x[:, 1]) * 1.5 - x[:, 2] * x[:, 3] - 1.2
    number = score + random.normal(size=ROWS) * 0.2
    classes = np.where(number > 0, "north", "south")
    write_table(folder / "sides.csv", x, classes)
    write_table(folder / "sides_shuffled.csv", x, random.permutation(classes))
    write_table(folder / "yield.csv", x, number)
    write_table(folder / "yield_in_grams.csv", x, number * 5e3)
    write_table(folder / "yield_from_700.csv", x, number + 700)


def write_rare(folder: Path, random: np.random.Generator) -> None:
    """Write two classes that overlap: as common as each other, and one of them rare."""
    for name, share in (("common", 0.5), ("rare_4", 0.04), ("rare_3", 0.03)):
        odd = random.random(ROWS) < share
        x = random.normal(size=(ROWS, COLUMNS)) + odd[:, None] * 0.55
        write_table(folder / f"{name}.csv", x, np.where(odd, "odd", "usual"))


def write_few(folder: Path, random: np.random.Generator) -> None:
    """Write noisy rows and noisy series: many, and few of them."""
    x = random.normal(size=(ROWS, 24))
    y = np.where(x[:, :4].sum(1) + random.normal(size=ROWS) > 0, "yes", "no")
    write_table(folder / "many.csv", x, y)
    write_table(folder / "few_72.csv", x[:72], y[:72])
    write_table(folder / "few_60.csv", x[60:120], y[60:120])
    kind = np.arange(SERIES) % 3
    waves = rising(kind, random) + random.normal(size=(SERIES, LENGTH)) * 1.2
    np.savez(folder / "noisy.npz", inputs=steps_of(waves), targets=kind)
    np.savez(folder / "few_series.npz", inputs=steps_of(waves[:66]), targets=kind[:66])


def rising(kind: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return series that fall, stay, or rise, from a level of their own."""
    level = random.normal(size=(len(kind), 1)) * 0.5
    slope = (kind[:, None] - 1) * np.linspace(-1, 1, LENGTH)
    return np.asarray(level + 1.5 * slope)


def steps_of(values: np.ndarray) -> np.ndarray:
    return values[..., None].astype(np.float32)


def write_ramps(folder: Path, random: np.random.Generator) -> None:
    """Write series of three classes: as they are, in other units, shuffled, and long ones."""
    kind = np.arange(SERIES) % 3
    x = steps_of(rising(kind, random) + random.normal(size=(SERIES, LENGTH)) * 0.2)
    np.savez(folder / "ramps.npz", inputs=x, targets=kind)
    np.savez(folder / "ramps_in_volts.npz", inputs=x * 90 + 400, targets=kind)
    np.savez(folder / "ramps_of_1e-4.npz", inputs=x * 3e-4, targets=kind)
    np.savez(folder / "ramps_shuffled.npz", inputs=x, targets=random.permutation(kind))
    slopes = (x[:, -4:, 0].mean(1) - x[:, :4, 0].mean(1)).astype(np.float32)
    np.savez(folder / "slopes.npz", inputs=x, targets=slopes)
    np.savez(folder / "slopes_in_grams.npz", inputs=x, targets=slopes * 2e3)
    long = random.normal(size=(SERIES, RECALLED)) * 0.1
    long[:, :4] += (kind[:, None] - 1) * 1.5
    np.savez(folder / "recalled.npz", inputs=steps_of(long), targets=kind)


def write_pictures(folder: Path, random: np.random.Generator) -> None:
    """Write gray pictures of stripes, upright and level."""
    for label, name in enumerate(("level", "upright")):
        (folder / name).mkdir(parents=True)
        for number in range(120):
            wave = np.sin(np.arange(12) * random.uniform(1.2, 2.2) + random.uniform(0, 6))
            picture = np.tile(wave, (12, 1)) if label else np.tile(wave[:, None], (1, 12))
            noisy = picture * 60 + 128 + random.normal(size=(12, 12)) * 25
            pixels = noisy.clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03}.png")


def write_sentences(folder: Path, random: np.random.Generator) -> None:
    """Write sentences with a label, the labels in another order, a verse, and random letters."""
    decides = {"warm": "yes", "bright": "yes", "cold": "no", "dim": "no"}
    words = np.array(["one", "the", "room", "street", "rather", "so", "is", "looks"])
    rows = []
    for _ in range(480):
        sentence = list(random.choice(words, random.integers(4, 8)))
        word = str(random.choice([*decides]))
        sentence.insert(int(random.integers(len(sentence))), word)
        rows.append((" ".join(sentence), decides[word]))
    labels = random.permutation([label for _, label in rows])
    write_labels(folder / "rooms.csv", rows)
    write_labels(
        folder / "rooms_shuffled.csv",
        [(text, str(label)) for (text, _), label in zip(rows, labels, strict=True)],
    )
    line = "she sells sea shells by the sea shore and the shells she sells are sea shells\n"
    (folder / "shells.txt").write_text(line * 60)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz "))
    (folder / "any_letters.txt").write_text("".join(random.choice(letters, 4800)))


def write_labels(path: Path, rows: list[tuple[str, str]]) -> None:
    path.write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]) + "\n")
