"""Print how long an epoch of MNIST takes in bptrain and in plain torch.nn, turn by turn.

python scripts/benchmark_mnist_epoch.py ROOT   (ROOT holds MNIST/raw/*.gz)
"""

import argparse
import tempfile
from pathlib import Path

from bptrain.bench.epoch import epochs
from bptrain.bench.paired import machine, median_and_quartiles, time_in_turns


def main() -> None:
    """Time the alternatives and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--hidden", type=int, nargs="*", default=[512, 256])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        alternatives = epochs(
            given.root, Path(scratch), given.hidden, given.batch_size, given.workers
        )
        measured = time_in_turns(alternatives, given.turns)
    print(f"{machine()}; MLP 784-{'-'.join(map(str, given.hidden))}-10, batch {given.batch_size}")
    for name, seconds in measured.seconds.items():
        times_faster = median_and_quartiles(measured.ratios("bptrain", name))
        epoch_s = median_and_quartiles(seconds)
        print(f"{name:32} {epoch_s} s an epoch; bptrain is {times_faster} times faster")


if __name__ == "__main__":
    main()
