"""Write scikit-learn's breast cancer and diabetes tables as CSV, its digits as sequences of rows.

Also write Friedman's first function of ten numbers, a tenth of its targets replaced by outliers.

python scripts/write_tables.py FOLDER
"""

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_friedman1


def write_tables(folder: Path) -> None:
    """Write breast_cancer.csv, diabetes.csv, outliers*.csv and digit_rows.npz below `folder`."""
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


def write(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    print(path)


if __name__ == "__main__":
    write_tables(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("data"))
