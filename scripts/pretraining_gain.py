"""What pretraining gains on drawn shapes: a few images of new shapes, fine-tuned and from scratch.

python scripts/pretraining_gain.py [--steps 60] [--seeds 3]     some minutes

It writes its table into docs/fine-tuning.md.

The learning rate of each way is the one of the best validation accuracy, seed 0.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from drawn_shapes import write_shapes

import bptrain
from bptrain.api.run import Run
from bptrain.bench.paired import machine
from bptrain.bench.workload_table import write_section

ROOT = Path(__file__).parent.parent
PAGE, CONFIG = ROOT / "docs" / "fine-tuning.md", ROOT / "configs" / "image_folder_pretrained.yaml"
BEGIN, END = "<!-- written by scripts/pretraining_gain.py -->", "<!-- end of that -->"
KNOWN = ("disc", "triangle", "square", "star", "cross", "bar", "flower", "moon")
NEW = ("half", "arrow", "corner", "hourglass")
IMAGES = {"train": 8, "val": 10, "test": 100}  # of each new shape
PRETRAINING = {"train": 400, "val": 20, "test": 20}  # of each known shape
EPOCHS = 8  # of the pretraining
RATES = (3e-3, 1e-3, 3e-4)
PRESET = "resnet18"
COMMON = [f"model.preset={PRESET}", "data.size=32", "monitor.level=basic", "schedule.kind=cosine"]
SECTION = """\
`python scripts/pretraining_gain.py --steps {steps} --seeds {seeds}` draws shapes of any color,
size, place and direction, 32 pixels wide. `{preset}` with random weights learns {known} of them
({known_images:,} images, {epochs} epochs; test accuracy {pretrained:.0f} %), and its export is
`model.weights` for {new} others: {new_images} training images, {steps} updates of 16. From scratch
the same network gets the same images and updates. Each way has the best of {rates} learning rates
by validation accuracy.

| begins with | trained | learning rate | test accuracy of {seeds} seeds |
|---|---|---|---|
{rows}

{machine}."""


class Way(NamedTuple):
    """A way to train on the new shapes: its row in the table, and the changes of the config."""

    begins: str
    trained: str
    words: tuple[str, ...]


def ways(weights: Path) -> list[Way]:
    """Return the ways to train, given the file of the pretrained weights."""
    given = f"model.weights={weights}"
    return [
        Way("random weights", "all", ("model.weights=none", "model.freeze=none")),
        Way("shapes", "the output layer", (given, "model.freeze=all but head")),
        Way("shapes", "all but the first 3 of 5 blocks", (given, "model.freeze=3")),
        Way("shapes", "all", (given, "model.freeze=none")),
        Way(
            "shapes",
            "all, `layer_decay: 0.8`",
            (given, "model.freeze=none", "optimizer.layer_decay=0.8"),
        ),
    ]


def train(place: Path, *words: str) -> Run:
    """Train once, in a folder of its own."""
    print(*words, file=sys.stderr, flush=True)
    folder = place / f"run-{len(list(place.glob('run-*')))}"
    return bptrain.fit(CONFIG, [*COMMON, *words], folder)


def best(run: Run, tag: str) -> float:
    """Return the largest value of a metric in a run's log."""
    return float(run.metrics()[tag].max())  # type: ignore[arg-type]


def pretrained_weights(place: Path) -> tuple[Path, float]:
    """Return the weights of a network that learned the known shapes, and its test accuracy."""
    write_shapes(place / "known", KNOWN, PRETRAINING, seed=0)
    run = train(
        place,
        f"data.root={place / 'known'}",
        *("model.weights=none", "model.freeze=none", "data.batch_size=64"),
        *(f"train.epochs={EPOCHS}", "optimizer.lr=1e-3", "checkpoint.best_by=val/accuracy"),
    )
    return run.export(place / "shapes.safetensors"), best(run, "test/accuracy")


def accuracies(place: Path, way: Way, steps: int, seeds: int) -> tuple[float, list[float]]:
    """Return the best learning rate of a way, and the test accuracy of each seed."""
    words = [f"data.root={place / 'new'}", "data.batch_size=16", f"train.steps={steps}"]
    words += ["schedule.warmup_steps=5", "checkpoint.best_by=val/accuracy", *way.words]
    tried = {rate: train(place, *words, f"optimizer.lr={rate}") for rate in RATES}
    rate = max(RATES, key=lambda each: best(tried[each], "val/accuracy"))
    runs = [tried[rate]]
    runs += [train(place, *words, f"optimizer.lr={rate}", f"seed={n}") for n in range(1, seeds)]
    return rate, [best(run, "test/accuracy") for run in runs]


def row_of(way: Way, rate: float, found: list[float]) -> str:
    """Return a row of the table."""
    spread = f" ± {100 * stdev(found):.1f}" if len(found) > 1 else ""
    cells = [way.begins, way.trained, f"{rate:g}", f"{100 * mean(found):.1f} %{spread}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Draw, train and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_shapes(place / "new", NEW, IMAGES, seed=1)
        weights, pretrained = pretrained_weights(place)
        rows = []
        for way in ways(weights):
            rows.append(row_of(way, *accuracies(place, way, given.steps, given.seeds)))
            print(rows[-1], file=sys.stderr, flush=True)
    section = SECTION.format(
        **vars(given),
        preset=PRESET,
        known=len(KNOWN),
        known_images=len(KNOWN) * PRETRAINING["train"],
        epochs=EPOCHS,
        pretrained=100 * pretrained,
        new=len(NEW),
        new_images=len(NEW) * IMAGES["train"],
        rates=len(RATES),
        rows="\n".join(rows),
        machine=machine(),
    )
    write_section(PAGE, section, BEGIN, END)


if __name__ == "__main__":
    main()
