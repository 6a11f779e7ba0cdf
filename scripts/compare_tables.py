"""Train the table configs beside scikit-learn's own perceptrons on the same rows.

python scripts/compare_tables.py [key=value ...]      some minutes on one core

Ten random splits of each table. Both train on all training rows, without a validation split,
and read the same inputs, standardized by the training rows. The overrides are bptrain's.
"""

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from write_tables import write_tables

from bptrain.config import load_config
from bptrain.data.splits import Samples
from bptrain.data.tables.table_config import TableConfig
from bptrain.experiment.config import ExperimentConfig

CONFIGS = Path(__file__).parent.parent / "configs"
SEEDS = range(10)


@dataclass(frozen=True)
class ComparedTable:
    """A table, its metric, and scikit-learn's settings.

    The settings are the defaults, whose network is the config's, and those with an L2 penalty that
    suits the table.
    """

    table: str
    metric: str
    settings: tuple[dict[str, Any], ...]


TABLES = [
    ComparedTable("breast_cancer", "accuracy", ({}, {"alpha": 1.0})),
    ComparedTable("diabetes", "r2", ({}, {"alpha": 10.0})),
]


def split(table: Path, folder: Path, seed: int) -> tuple[Path, Path]:
    """Write a random fifth of a table's rows as test.csv, the rest as train.csv."""
    with table.open(newline="") as file:
        header, *rows = csv.reader(file)
    paths = folder / "train.csv", folder / "test.csv"
    for path, part in zip(
        paths, train_test_split(rows, test_size=0.2, random_state=seed), strict=True
    ):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *part])
    return paths


def bptrain_score(compared: ComparedTable, folder: Path, words: Sequence[str]) -> float:
    """Run `bptrain fit` and return the metric on the test rows."""
    command = [sys.executable, "-m", "bptrain", "fit", str(CONFIGS / f"{compared.table}.yaml")]
    run = folder / "run"
    subprocess.run([*command, *words, "--run-dir", str(run)], check=True, capture_output=True)  # noqa: S603
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return float(last[f"test/{compared.metric}"])


def scikit_scores(compared: ComparedTable, config: TableConfig, seed: int) -> list[float]:
    """Train scikit-learn's perceptron with each of its settings and return its scores."""
    data = config.build(seed)
    parts = [part for part in (data.train, data.test) if isinstance(part, Samples)]
    kind = MLPClassifier if compared.metric == "accuracy" else MLPRegressor
    (inputs, targets), (test_inputs, test_targets) = (
        (part.inputs.numpy(), part.targets.numpy().ravel()) for part in parts
    )
    models = (kind(max_iter=5_000, random_state=seed, **each) for each in compared.settings)
    return [model.fit(inputs, targets).score(test_inputs, test_targets) for model in models]


def compare(compared: ComparedTable, tables: Path, words: Sequence[str]) -> None:
    """Print the scores of both, as means over the splits."""
    scores = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            train, test = split(tables / f"{compared.table}.csv", folder, seed)
            given = [f"data.path={train}", f"data.test_path={test}", "data.validation_fraction=0.0"]
            given += [f"seed={seed}", *words]
            config = load_config(ExperimentConfig, CONFIGS / f"{compared.table}.yaml", given)
            assert isinstance(config.data, TableConfig)
            ours = bptrain_score(compared, folder, given)
            scores.append([ours, *scikit_scores(compared, config.data, seed)])
    names = ["bptrain", *(f"scikit-learn {settings or ''}" for settings in compared.settings)]
    print(f"{compared.table}, {compared.metric} on {len(SEEDS)} splits")
    for name, each in zip(names, np.array(scores).T.tolist(), strict=True):
        ahead = [score - own for own, score in zip(np.array(scores)[:, 0], each, strict=True)]
        print(
            f"  {name:<28} mean {mean(each):.4f}, of seeds 0 to 2 {mean(each[:3]):.4f}; "
            f"ahead of bptrain by {mean(ahead):+.4f} +- {stdev(ahead) / len(ahead) ** 0.5:.4f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder))
        for compared in TABLES:
            compare(compared, Path(folder), sys.argv[1:])
