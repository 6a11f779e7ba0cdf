"""Write scikit-learn's breast cancer and diabetes tables as CSV, its digits as sequences of rows.

Also write Friedman's first function of ten numbers, a tenth of its targets replaced by outliers,
and the data of configs/troubles: a small table, one with a rare class, and waves in a large unit.

python scripts/write_tables.py FOLDER
"""

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    make_classification,
    make_friedman1,
)


def write_tables(folder: Path) -> None:
    """Write CSV files of tables and .npz files of sequences below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    cancer = load_breast_cancer()
    names = [name.replace(" ", "_") for name in cancer.feature_names]
    diagnoses = [str(cancer.target_names[label]) for label in cancer.target]
    rows = [[*row, diagnosis] for row, diagnosis in zip(cancer.data, diagnoses, strict=True)]
    write(folder / "breast_cancer.csv", [*names, "diagnosis"], rows)

    diabetes = load_diabetes(scaled=False)
    rows = [[*row, target] for row, target in zip(diabetes.data, diabetes.target, strict=True)]
    write(folder / "diabetes.csv", [*diabetes.feature_names, "progression"], rows)

    write_outliers(folder)
    write_troubles(folder)

    digits = load_digits()  # each row of an image is a step
    np.savez(folder / "digit_rows.npz", inputs=digits.images, targets=digits.target)
    print(folder / "digit_rows.npz")


def write_outliers(folder: Path) -> None:
    """Write outliers.csv, a tenth of its targets far too large, and outliers_test.csv."""
    inputs, clean = make_friedman1(2_000, noise=1.0, random_state=0)
    training = clean[:1_000].copy()
    training[::10] += 100  # true ones lie between 0 and 30
    names = [*(f"x{number}" for number in range(1, 11)), "y"]
    for name, rows, targets in (
        ("outliers.csv", inputs[:1_000], training),
        ("outliers_test.csv", inputs[1_000:], clean[1_000:]),
    ):
        write(folder / name, names, np.column_stack([rows, targets]).tolist())


def write_troubles(folder: Path) -> None:
    """Write small*.csv, rare*.csv and pressure.npz: too few rows, few of a class, a large unit."""
    names = [*(f"x{number}" for number in range(1, 31)), "y"]
    inputs, classes = make_classification(
        1_200, 30, n_informative=5, n_redundant=0, flip_y=0.1, random_state=1
    )
    rows = [[*row, ("no", "yes")[y]] for row, y in zip(inputs.round(4), classes, strict=True)]
    write(folder / "small.csv", names, rows[:200])
    write(folder / "small_test.csv", names, rows[200:])

    names = [*(f"x{number}" for number in range(1, 7)), "y"]
    inputs, classes = make_classification(
        4_000, 6, n_redundant=0, weights=[0.95], flip_y=0, class_sep=0.3, random_state=1
    )
    rows = [[*row, ("usual", "rare")[y]] for row, y in zip(inputs.round(4), classes, strict=True)]
    write(folder / "rare.csv", names, rows[:2_000])
    write(folder / "rare_test.csv", names, rows[2_000:])

    random = np.random.default_rng(0)
    period = np.arange(600) % 3 + 1  # of a wave: the class
    angle = np.arange(24) * period[:, None] * 0.35 + random.uniform(0, 2 * np.pi, (600, 1))
    pascal = 101_325 + 300 * np.sin(angle) + 30 * random.normal(size=angle.shape)
    np.savez(folder / "pressure.npz", inputs=pascal[..., None].astype(np.float32), targets=period)
    print(folder / "pressure.npz")


def write(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    print(path)


if __name__ == "__main__":
    write_tables(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("data"))
