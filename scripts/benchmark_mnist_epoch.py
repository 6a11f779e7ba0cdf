"""Print how long an epoch of MNIST takes in bptrain and in plain torch.nn, turn by turn.

python scripts/benchmark_mnist_epoch.py ROOT   (ROOT holds MNIST/raw/*.gz)
"""

import argparse
import tempfile
from pathlib import Path

from bptrain.bench.epoch import contestants
from bptrain.bench.paired import contest, machine, spread


def main() -> None:
    """Time the contestants and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--hidden", type=int, nargs="*", default=[512, 256])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        epochs = contestants(
            given.root, Path(scratch), given.hidden, given.batch_size, given.workers
        )
        measured = contest(epochs, given.turns)
    print(f"{machine()}; MLP 784-{'-'.join(map(str, given.hidden))}-10, batch {given.batch_size}")
    for name, seconds in measured.seconds.items():
        times_faster = spread(measured.ratios("bptrain", name))
        print(f"{name:32} {spread(seconds)} s an epoch; bptrain is {times_faster} times faster")


if __name__ == "__main__":
    main()
