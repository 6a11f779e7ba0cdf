"""What a reader of a page has in the folder before its commands, by name."""

import re
from pathlib import Path

import numpy as np
from page_commands import ROOT
from PIL import Image

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "and",
    "then",
    "sleeps",
    "in",
    "the",
    "sun",
    "until",
    "noon",
]


OPINIONS = {"is good": "good", "is bad": "bad"}
FOLDERS = {"photos": ("cat", "dog"), "folder": tuple(map(str, range(10)))}


def prepare(name: str, folder: Path) -> None:
    """Make what `name` says in `folder`."""
    path = folder / name
    if name == "experiment.yaml":
        path.write_text(example_config(), encoding="utf-8")
    elif name.endswith(".txt"):
        write_words(path, 2_000, seed=0)
    elif name in WRITERS:
        WRITERS[name](folder)
    elif name.endswith(".csv"):
        rows = [f"{word} {end},{label}" for word in WORDS for end, label in OPINIONS.items()]
        path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    elif name.endswith(".png"):
        write_image(path, 0)
    else:
        for number in range(20):
            for brightness, label in enumerate(FOLDERS[name]):
                write_image(path / label / f"{number}.png", 10 * number + brightness)


def write_articles(folder: Path) -> None:
    """Write texts in a folder for each class."""
    for number in range(40):
        path = folder / "articles" / ["arts", "sports"][number % 2] / f"{number}.txt"
        write_words(path, 20, seed=number)


def write_customers(folder: Path) -> None:
    """Write a table of customers, some of whom left."""
    rows = [f"{n},{18 + n % 50},{['basic', 'plus'][n % 2]},{'ny'[n % 3 == 0]}" for n in range(90)]
    text = "\n".join(["id,age,plan,churned", *rows]) + "\n"
    (folder / "customers.csv").write_text(text, encoding="utf-8")


def write_labels(folder: Path) -> None:
    """Write images in one folder, and a table of their labels beside it."""
    for number in range(40):
        write_image(folder / "img" / f"{number}.png", 200 * (number % 2))
    rows = [f"img/{number}.png,{['dark', 'light'][number % 2]}" for number in range(40)]
    text = "\n".join(["file,label", *rows]) + "\n"
    (folder / "labels.csv").write_text(text, encoding="utf-8")


WRITERS = {
    "articles": write_articles,
    "customers.csv": write_customers,
    "labels.csv": write_labels,
}


def write_words(path: Path, words: int, seed: int) -> None:
    """Write a text of random words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(seed).choice(WORDS, words)
    path.write_text(" ".join(drawn), encoding="utf-8")


def write_image(path: Path, brightness: int) -> None:
    """Write a gray image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), brightness, np.uint8)).save(path)


def example_config() -> str:
    """Return the config that README shows."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n# experiment.yaml\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    return found[1]
