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
        drawn = np.random.default_rng(0).choice(WORDS, 2_000)
        path.write_text(" ".join(drawn), encoding="utf-8")
    elif name == "customers.csv":
        rows = [
            f"{n},{18 + n % 50},{['basic', 'plus'][n % 2]},{'ny'[n % 3 == 0]}" for n in range(90)
        ]
        path.write_text("\n".join(["id,age,plan,churned", *rows]) + "\n", encoding="utf-8")
    elif name.endswith(".csv"):
        rows = [f"{word} {end},{label}" for word in WORDS for end, label in OPINIONS.items()]
        path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    elif name.endswith(".png"):
        write_image(path, 0)
    else:
        for number in range(20):
            for brightness, label in enumerate(FOLDERS[name]):
                write_image(path / label / f"{number}.png", 10 * number + brightness)


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
