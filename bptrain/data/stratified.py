"""Which samples are held out: a random fraction, the same fraction of each class.

The algorithm and its random numbers are those of scikit-learn's train_test_split, so that both
select the same samples; a test compares them. Importing scikit-learn would cost a second at each
start.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def held_out_rows(samples: int, held_out: int, seed: int, classes: NDArray[Any] | None) -> Rows:
    """Return the sorted indices of `held_out` of the samples.

    classes  [N]: their proportions are kept, as far as whole numbers allow; None draws from all
             samples alike
    """
    random = np.random.RandomState(seed % 2**32)
    if classes is None:
        return np.sort(random.permutation(samples)[:held_out])
    _, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
    kept = _proportional(counts, samples - held_out, random)
    _proportional(counts - kept, held_out, random)  # draws as many random numbers as the original
    members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(counts)[:-1])
    chosen = [
        rows[random.permutation(len(rows))[first:]]
        for rows, first in zip(members, kept, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _proportional(counts: Rows, draws: int, random: np.random.RandomState) -> Rows:
    """Return how many of each class are drawn, by largest remainders; ties are broken at random."""
    exact = counts / counts.sum() * draws
    drawn = np.floor(exact)
    remainders = exact - drawn
    missing = draws - int(drawn.sum())
    for remainder in np.unique(remainders)[::-1]:
        if missing == 0:
            break
        (ties,) = np.nonzero(remainders == remainder)
        chosen = random.choice(ties, size=min(len(ties), missing), replace=False)
        drawn[chosen] += 1
        missing -= len(chosen)
    whole: Rows = drawn.astype(np.int64)
    return whole
