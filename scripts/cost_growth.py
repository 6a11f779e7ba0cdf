"""Measure how a step's time and memory grow, and write the table and chart of docs/benchmarks.md.

python scripts/cost_growth.py [--turns 15] [--print]
"""

import argparse
import os
import sys
from pathlib import Path

from bptrain.bench.cost_growth import SWEEPS, draw, measure_sweep, table_of
from bptrain.bench.paired import machine
from bptrain.bench.workload_table import write_section

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- written by scripts/cost_growth.py -->", "<!-- end of scripts/cost_growth.py -->"
SECTION = """\
## How cost grows

`python scripts/cost_growth.py`: the cost of a training step is fitted by a power law,
*cost = c size^exponent*, by least squares on logarithms; an exponent of 1 is cost in proportion.
In brackets the cost at the smallest and the largest size. *step* is time, *kept* the bytes kept for
the backward pass, *peak* the most that is allocated at a time during the step. Below the size at
which products fill the processor, exponents of time are less than those of the operations; weights
and their gradients do not grow with the batch.

{machine}; median of {turns} turns; load average at the end {load} on {processors} processors.

{table}

![Time and memory of a step over batch, width, depth and time steps](cost_growth.png)"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--print", action="store_true", help="leave docs/ as it is")
    given = parser.parse_args()
    found = []
    for sweep in SWEEPS:
        print(f"{sweep.what}: {sweep.axis}", file=sys.stderr, flush=True)
        found.append((sweep, measure_sweep(sweep, given.turns)))
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    section = SECTION.format(
        machine=machine(),
        turns=given.turns,
        load=load,
        processors=os.cpu_count(),
        table=table_of(found),
    )
    print(section)
    if not given.print:
        draw(found, DOCS / "cost_growth.png")
        write_section(DOCS / "benchmarks.md", section, BEGIN, END)


if __name__ == "__main__":
    main()
