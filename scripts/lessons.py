"""Train the configs of configs/troubles, as they are and cured, and write it into docs/lessons.

python scripts/lessons.py [NAME ...]

Of each config: what the terminal says, what `bptrain diagnose` finds, a picture, and a table of
runs with the change that the first verdict proposes and with others. A page holds them between
`<!-- run NAME -->` and `<!-- end of NAME -->`. docs/lessons/cost.md is written by
scripts/lesson_of_cost.py.
"""

import os
import runpy
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lesson_pictures import draw
from typer.testing import CliRunner

from bptrain.bench.workload_table import write_section
from bptrain.cli import app
from bptrain.experiment.diagnosis import read_lines, verdicts_of
from bptrain.monitor.verdicts import Verdict

ROOT = Path(__file__).parent.parent
PAGES, CONFIGS = ROOT / "docs" / "lessons", ROOT / "configs" / "troubles"
COST = "cost"  # has no verdict
LAST_LINES = 4  # of what a run says that fails
WHERE = ("report ", "run directory ")  # begin the lines that say where the files of a run are
METRICS = {"target_scale": "test/r2", "class_collapse": "test/macro_f1"}
OTHERS = {  # changes beside the proposed one
    "vanishing": [
        ["model.activation=relu"],
        ["model.normalization=batch"],
        ["model.residual=true"],
        ["model.init=xavier"],
    ],
    "vanishing_over_time": [
        ["model.cell=lstm", "model.forget_bias=3.5"],
        ["model.cell=lstm"],
        ["model.cell=gru"],
    ],
    "exploding": [
        ["train.clip_grad_norm=1.0"],
        ["model.init=default", "train.clip_grad_norm=1.0"],
        ["model.normalization=layer", "train.clip_grad_norm=1.0"],
    ],
    "divergence": [
        ["optimizer.lr=0.05"],
        ["optimizer.lr=0.1"],
        ["optimizer.lr=0.1", "train.clip_grad_norm=1.0"],
    ],
    "dead": [["model.activation=leaky_relu"], ["model.normalization=batch"]],
    "learning_rate_too_high": [["optimizer.lr=0.1"], ["optimizer.lr=0.01"], ["optimizer.lr=1e-4"]],
    "learning_rate_too_low": [["optimizer.lr=1e-5"], ["optimizer.lr=1e-4"], ["optimizer.lr=0.01"]],
    "plateau": [["schedule={kind: constant}"], ["schedule={kind: one_cycle}"]],
    "overfitting": [
        ["train.early_stopping={patience: 3}"],
        ["model.dropout=0.5"],
        ["optimizer.kind=adamw", "optimizer.weight_decay=1.0"],
        ["train.l1=0.003"],
        ["model.hidden=[8]"],
    ],
    "input_scale": [["optimizer.lr=1e-4"], ["optimizer.lr=1e-6"]],
    "target_scale": [["optimizer.lr=0.1"]],
    "class_collapse": [["optimizer.lr=0.01"], ["train.epochs=40"]],
}


@dataclass(frozen=True)
class Run:
    """A run of a config with changes: its log, its verdicts, and what the terminal said."""

    command: str
    changes: list[str]
    printed: list[str]
    lines: list[dict[str, Any]]
    diagnosis: str
    verdicts: list[Verdict]

    @property
    def failed(self) -> bool:
        """Whether the run ended by an error."""
        return any(line.startswith("error: ") for line in self.printed)

    @property
    def ending(self) -> list[str]:
        """What the terminal says from the last step on, except for where its files are."""
        lines = [line for line in self.printed if not line.startswith(WHERE)]
        steps = [n for n, line in enumerate(lines) if line.startswith("step ")]
        return lines[-LAST_LINES:] if self.failed or not steps else lines[steps[-1] :]

    def last(self, tag: str, count: int = 1) -> float | None:
        """Return the median of the last `count` values of a tag."""
        values = [line[tag] for line in self.lines if line.get(tag) is not None]
        return median(values[-count:]) if values else None


def bptrain(*words: str) -> str:
    """Return what a command prints, run in this process."""
    done = CliRunner().invoke(app, words)
    if done.exit_code not in (0, 6):  # 6: a number that is not finite, as some configs are to show
        raise SystemExit(f"{shlex.join(words)}\n{done.output}")
    return str(done.output)


def train(name: str, changes: list[str]) -> Run:
    """Train a config, and diagnose it."""
    config = f"configs/troubles/{name}.yaml"
    run_dir = f"runs/{name.replace('_', '-')}"
    where = []
    if changes:
        run_dir += f"-{len(list(Path('runs').iterdir()))}"
        where = ["--run-dir", run_dir]
    printed = bptrain("fit", config, *changes, *where).splitlines()
    return Run(
        shlex.join(["bptrain", "fit", config, *changes]),
        changes,
        [line for line in printed if line.strip()],
        read_lines(Path(run_dir)),
        bptrain("diagnose", run_dir).strip(),
        verdicts_of(Path(run_dir)),
    )


def number(value: float | None) -> str:
    """Return a number for a table."""
    return "" if value is None else f"{value:.3g}"


def row(run: Run, metric: str) -> str:
    """Return a row of the table."""
    loss = "not finite" if run.failed else number(run.last("train/loss", 3))
    score = run.last(metric)
    shown = "" if score is None else f"{score:.1%}" if metric == "test/accuracy" else f"{score:.3f}"
    kinds = ", ".join(f"`{each.kind}`" for each in run.verdicts) or "none"
    changes = f"`{shlex.join(run.changes)}`" if run.changes else "as it is"
    return f"| {changes} | {loss} | {number(run.last('val/loss'))} | {shown} | {kinds} |"


def section(name: str, runs: list[Run]) -> str:
    """Return what a page shows of a config's runs: as it is, cured, and otherwise changed."""
    sick, cured, *_ = runs
    metric = METRICS.get(name, "test/accuracy")
    shown = metric.removeprefix("test/").replace("_", " ")
    rows = "\n".join(row(each, metric) for each in runs)
    return f"""\
```console
$ {sick.command}
...
{chr(10).join(sick.ending)}
$ bptrain diagnose runs/{name.replace("_", "-")}
{sick.diagnosis}
$ {cured.command}
...
{chr(10).join(cured.ending)}
```

![{name.replace("_", " ")}: as it is, and with the proposed change]({name}.png)

| change | training loss | validation loss | test {shown} | verdict |
|---|---:|---:|---:|---|
{rows}

Chance costs {number(sick.last("data/chance_loss"))}; losses are those at the end of the run."""


def write(name: str) -> None:
    """Train a config and write its part of a page."""
    begin, end = f"<!-- run {name} -->", f"<!-- end of {name} -->"
    (page,) = [each for each in PAGES.glob("*.md") if begin in each.read_text(encoding="utf-8")]
    sick = train(name, [])
    advice = list(sick.verdicts[0].advice)
    others = [each for each in OTHERS.get(name, []) if each != advice]
    runs = [sick, *(train(name, each) for each in (advice, *others))]
    draw(name, sick.lines, runs[1].lines, PAGES / f"{name}.png")
    write_section(page, section(name, runs), begin, end)
    print(
        "\n".join([name, *(row(each, METRICS.get(name, "test/accuracy")) for each in runs)]),
        flush=True,
    )


def main() -> None:
    """Train the configs that are named, or all."""
    names = sys.argv[1:] or sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    torch.set_num_threads(1)
    write_tables = runpy.run_path(str(ROOT / "scripts" / "write_tables.py"))["write_tables"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where the commands read configs and data, and write runs
        Path("configs").symlink_to(ROOT / "configs")
        write_tables(Path("data"))
        for name in names:
            if name != COST:
                write(name)


if __name__ == "__main__":
    main()
