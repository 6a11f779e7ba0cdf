"""Write scikit-learn's breast cancer and diabetes tables as CSV files.

python scripts/write_tables.py FOLDER
"""

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from sklearn.datasets import load_breast_cancer, load_diabetes


def write_tables(folder: Path) -> None:
    """Write breast_cancer.csv and diabetes.csv below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    cancer = load_breast_cancer()
    names = [name.replace(" ", "_") for name in cancer.feature_names]
    diagnoses = [str(cancer.target_names[label]) for label in cancer.target]
    rows = [[*row, diagnosis] for row, diagnosis in zip(cancer.data, diagnoses, strict=True)]
    write(folder / "breast_cancer.csv", [*names, "diagnosis"], rows)

    diabetes = load_diabetes(scaled=False)
    rows = [[*row, target] for row, target in zip(diabetes.data, diabetes.target, strict=True)]
    write(folder / "diabetes.csv", [*diabetes.feature_names, "progression"], rows)


def write(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    print(path)


if __name__ == "__main__":
    write_tables(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("data"))
