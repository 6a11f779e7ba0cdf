"""Read, split and scale a table of a million rows and 50 columns: time and memory.

python scripts/benchmark_million_rows.py      310 MB on the disk while it runs
"""

import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bptrain.__main__ import POLARS_MEMORY
from bptrain.data.tables.table_config import TableConfig

ROWS, NUMBERS = 1_000_000, 47


def write_table(path: Path) -> None:
    """Write 47 columns of numbers, one of names, one of codes, and a class."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {f"x{n}": random.normal(size=ROWS).round(3) for n in range(NUMBERS)}
    columns["color"] = random.choice(["red", "green", "blue"], ROWS)
    columns |= {"zone": random.integers(0, 20, ROWS), "y": random.integers(0, 2, ROWS)}
    pl.DataFrame(columns).write_csv(path)


def peak_gb() -> float:
    """Return the most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Print what reading the table takes; a process of its own has written it."""
    path = Path(sys.argv[1])
    imports = peak_gb()
    wall, cpu = time.perf_counter(), time.process_time()
    dataset = TableConfig(path=str(path), target="y").build(0)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{len(dataset.train):,} training rows: {wall:.1f} s, {cpu:.1f} s of all cores", end="; ")
    print(f"{peak_gb() - imports:.2f} GB besides the {imports:.2f} GB of imports")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main()
    else:
        import subprocess

        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "million.csv"
            code = f"import benchmark_million_rows as b; b.write_table(b.Path({str(table)!r}))"
            here = Path(__file__).parent
            subprocess.run([sys.executable, "-c", code], check=True, cwd=here)  # noqa: S603  our own words
            as_bptrain = os.environ | {"_RJEM_MALLOC_CONF": POLARS_MEMORY}
            subprocess.run([sys.executable, __file__, str(table)], check=True, env=as_bptrain)  # noqa: S603
