"""Train MNIST by each learning rule, and write the table and the plot of docs/learning-rules.md.

python scripts/learning_rules.py FOLDER [--epochs 5] [--seeds 3]     (FOLDER/MNIST/raw)

The learning rate of a rule is the one of the best validation accuracy after one epoch, seed 0.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import matplotlib as mpl

from bptrain.bench.paired import machine
from bptrain.bench.workload_table import write_section

ROOT = Path(__file__).parent.parent
DOCS, CONFIG = ROOT / "docs", ROOT / "configs" / "mnist_mlp.yaml"
BEGIN, END = "<!-- written by scripts/learning_rules.py -->", "<!-- end of that -->"
NETWORKS = {
    "perceptron": "model={kind: mlp, hidden: [256, 128], init: kaiming}",
    "convolutions": "model={kind: cnn, stages: [{channels: 8}, {channels: 16}]}",
}
RATES = {
    "backprop": (0.1, 0.03),
    "sign_symmetry": (0.03, 0.01),
    "feedback_alignment": (0.01, 0.003),
    "direct_feedback_alignment": (0.01, 0.003),
    "forward_gradient": (3e-5, 1e-5, 3e-6),
}
COLORS = ["0.4", "tab:green", "tab:blue", "tab:orange", "tab:red"]
SECTION = """\
`python scripts/learning_rules.py FOLDER --epochs {epochs} --seeds {seeds} --networks {names}`:
MNIST, SGD with momentum 0.9, batches of 128, a constant learning rate, {epochs} epochs. Test
accuracy is that of the checkpoint with the lowest validation loss, mean and standard deviation of
{seeds} seeds; the angles, in degrees, are those of the last log line, of the whole network and of
its first layer. The learning rate of each rule is the best of those in the script by validation
accuracy after one epoch.

{networks}

{table}

{machine}.

![Validation accuracy, and angle to the gradient, over the steps](learning_rules.png)"""


class Trained(NamedTuple):
    """A run: the lines of its metrics.jsonl."""

    lines: list[dict[str, float]]

    def curve(self, tag: str) -> tuple[list[float], list[float]]:
        """Return the steps and the values of a tag."""
        there = [each for each in self.lines if tag in each]
        return [each["step"] for each in there], [each[tag] for each in there]

    def last(self, tag: str) -> float:
        """Return the last value of a tag; NaN if there is none."""
        return (self.curve(tag)[1] or [float("nan")])[-1]


def train(folder: Path, network: str, rule: str, rate: float, *words: str) -> Trained | None:
    """Train once; None if the run diverged."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place, "run")
        command = [sys.executable, "-m", "bptrain", "fit", str(CONFIG), f"data.root={folder}"]
        command += [NETWORKS[network], f"backward={rule}", f"optimizer.lr={rate}"]
        command += [
            "optimizer.nesterov=false",
            "optimizer.weight_decay=0",
            "schedule.kind=constant",
        ]
        command += [
            "loss.label_smoothing=0",
            "monitor.log_every=100",
            *words,
            "--run-dir",
            str(run),
        ]
        print(network, rule, rate, *words, file=sys.stderr, flush=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode == 6:
            return None
        done.check_returncode()
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return Trained([json.loads(each) for each in lines])


def best_rate(folder: Path, network: str, rule: str) -> float:
    """Return the learning rate of the best validation accuracy after an epoch."""

    def accuracy(rate: float) -> float:
        trained = train(folder, network, rule, rate, "train.epochs=1")
        return 0.0 if trained is None else trained.last("val/accuracy")

    return max(RATES[rule], key=accuracy)


def row_of(network: str, rule: str, rate: float, runs: list[Trained]) -> str:
    """Return a row of the table."""
    accuracies = [100 * each.last("test/accuracy") for each in runs]
    spread = f" ± {stdev(accuracies):.2f}" if len(runs) > 1 else ""
    angles = ["0", "0"]
    if rule != "backprop":
        first = next(t for t in runs[0].lines[0] if t.startswith("grad/angle/"))
        of_runs = [[each.last(tag) for each in runs] for tag in ("grad/angle", first)]
        angles = [f"{mean(each):.0f}" for each in of_runs]
    cells = [network, f"`{rule}`", f"{rate:g}", f"{mean(accuracies):.2f}{spread}", *angles]
    return f"| {' | '.join(cells)} |"


def draw(found: dict[tuple[str, str], list[Trained]], path: Path) -> None:
    """Draw validation accuracy and angle of seed 0 over the steps."""
    mpl.use("agg")
    from matplotlib import pyplot

    networks = list(dict.fromkeys(network for network, _ in found))
    figure, axes = pyplot.subplots(
        2, len(networks), figsize=(4.5 * len(networks), 6), squeeze=False, layout="constrained"
    )
    for (network, rule), runs in found.items():
        accuracy, angle = axes[:, networks.index(network)]
        color = COLORS[list(RATES).index(rule)]
        accuracy.plot(*runs[0].curve("val/accuracy"), ".-", color=color, label=rule)
        if rule != "backprop":
            angle.plot(*runs[0].curve("grad/angle"), color=color, label=rule)
        accuracy.set_title(network)
        accuracy.set_ylabel("validation accuracy")
        angle.set_ylabel("angle to the gradient, degrees")
        angle.set_xlabel("step")
        angle.set_ylim(0, 95)
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    given = parser.parse_args()
    found: dict[tuple[str, str], list[Trained]] = {}
    rows = ["| network | rule | rate | test accuracy, % | angle | first layer |"]
    rows += ["|---|---|---|---|---|---|"]
    for network in given.networks:
        for rule in RATES:
            rate = best_rate(given.folder, network, rule)
            epochs = f"train.epochs={given.epochs}"
            seeds = [f"seed={seed}" for seed in range(given.seeds)]
            runs = [train(given.folder, network, rule, rate, epochs, seed) for seed in seeds]
            found[network, rule] = [each for each in runs if each is not None]
            rows.append(row_of(network, rule, rate, found[network, rule]))
            print(rows[-1], file=sys.stderr, flush=True)
    section = SECTION.format(
        names=" ".join(given.networks),
        networks="\n".join(f"- {name}: `{NETWORKS[name]}`" for name in given.networks),
        epochs=given.epochs,
        seeds=given.seeds,
        table="\n".join(rows),
        machine=machine(),
    )
    draw(found, DOCS / "learning_rules.png")
    write_section(DOCS / "learning-rules.md", section, BEGIN, END)
    print(section)


if __name__ == "__main__":
    main()
