"""Try `check` on right networks and on planted errors, on inputs full of kinks.

scripts/check_trials prints each false alarm and each miss, then how many of each there are, and
exits with 1 if there is one.
"""

from collections.abc import Callable, Iterator
from time import perf_counter

import torch
from trials import (
    INPUTS,
    KINK_TRIALS,
    TRIALS,
    UNDEFINED_AT_KINKS,
    VECTOR,
    WRONG_AT_KINKS,
    with_an_error,
)

from bptrain.verify import check


def right() -> Iterator[str]:
    """Yield the right networks that are called wrong, or that are said to err at kinks."""
    for trial in TRIALS:
        report = trial.check()
        if not report.ok or report.at_kinks:
            yield f"{trial.label}\n{report}"


def planted() -> Iterator[str]:
    """Yield the planted errors that pass."""
    for number, trial in enumerate(TRIALS):
        with with_an_error(trial, number) as what:
            report = trial.check()
        if report.ok:
            yield f"{what}\n{report}"


def at_kinks() -> Iterator[str]:
    """Yield the errors at kinks alone that are not told, or where not finite pass."""
    for name, inputs in KINK_TRIALS:
        x = INPUTS[inputs](VECTOR)
        if name in WRONG_AT_KINKS:
            is_found = bool(check(WRONG_AT_KINKS[name], x).at_kinks)
        else:
            is_found = not check(UNDEFINED_AT_KINKS[name], x).ok
        if not is_found:
            yield f"{name} on {inputs}"


def main() -> int:
    """Run all trials and print what went wrong."""
    torch.set_num_threads(1)
    rows: list[tuple[str, Callable[[], Iterator[str]], int, str]] = [
        ("right networks", right, len(TRIALS), "false alarms"),
        ("planted errors", planted, len(TRIALS), "misses"),
        ("errors at kinks alone", at_kinks, len(KINK_TRIALS), "misses"),
    ]
    failures = 0
    for what, run, number, failure in rows:
        start, found = perf_counter(), 0
        for line in run():
            found += 1
            print(line)
        failures += found
        print(f"{number} {what}: {found} {failure} ({perf_counter() - start:.0f} s)")
    return int(failures > 0)


if __name__ == "__main__":
    raise SystemExit(main())
