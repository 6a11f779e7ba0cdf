"""Mutate every backward pass in `ops/`, one change at a time, and verify that the tests fail.

    scripts/mutate                             every file
    scripts/mutate bptrain/ops/linear.py ...   these files

A mutant (mutants.py) is killed when some case of the table no longer agrees with its torch.nn
counterpart in float64, as tests/verify/test_oracles.py demands, or else its second derivative with
finite differences, as tests/verify/test_second_derivatives.py does. Each mutant is held to the
cases that run its function, by a process on every core. Survivors are listed; mutants that compute
the very same gradient cannot be killed, and scripts/equivalent_mutants.json gives the reason for
each.
"""

import argparse
import gc
import json
import multiprocessing
import os
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import torch
from cases import CASES
from cases.case import Case, differentiated
from cases.twice import second_derivatives_are_right
from mutants import FILES, OPS, Mutant, mutants_of

from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import NOISE, outcomes, parity, same

EQUIVALENT = Path(__file__).parent / "equivalent_mutants.json"
GOAL = 0.99
KERNELS: tuple[Kernels, ...] = ("formula", "fused")

Answer = TypeVar("Answer")
Name = tuple[str, str]  # a function's file and its name there


@dataclass
class Table:
    """The cases by the functions that they run, and what torch gives for each of them."""

    references: dict[str, Tensors]
    once: dict[Name, list[Case]] = field(default_factory=lambda: defaultdict(list))
    twice: dict[Name, list[Case]] = field(default_factory=lambda: defaultdict(list))

    def verdict(self, mutant: Mutant) -> str:
        """Return how the cases detect a mutant that is in place."""
        name = str(mutant.path), mutant.function
        for case in self.once[name]:
            if found := self.difference(case):
                return found
        if any(not is_right_twice(case) for case in self.twice[name]):
            return "by second derivative"
        return "survives"

    def difference(self, case: Case) -> str:
        """Return how a case detects the current code: 'by value', 'by error' or not: ''."""
        reference = self.references[case.label]
        tensors = case.draw(torch.float64, "cpu")
        for kernels in KERNELS:
            try:
                with use_kernels(kernels):
                    ours = outcomes(case.ours, tensors, differentiated(case, tensors), 1)
                found = parity(ours, reference, NOISE)
            except Exception:  # any exception makes a test fail
                return "by error"
            if any(each.relative_error > same(reference) for each in found):
                return "by value"
        return ""


def is_right_twice(case: Case) -> bool:
    """Return whether the second derivatives of a case agree with finite differences."""
    tensors = case.draw(torch.float64, "cpu")
    try:
        for kernels in KERNELS:
            with use_kernels(kernels):
                second_derivatives_are_right(case, tensors)
    except Exception:
        return False
    return True


@contextmanager
def functions_called() -> Iterator[set[Name]]:
    """Fill the set with the functions of `ops/` that are called inside the block."""
    found: set[Name] = set()
    folder = str(OPS)

    def note(frame: object, *_: object) -> None:
        code = frame.f_code  # type: ignore[attr-defined]
        if code.co_filename.startswith(folder):
            found.add((code.co_filename, code.co_qualname))

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


def tried(case: Case, table: Table) -> tuple[str, set[Name], set[Name]]:
    """Return how a case fails without a mutant, and the functions that it runs once and twice.

    The functions of its second derivatives are none where those are wrong without a mutant, or do
    not exist.
    """
    with functions_called() as once:
        failure = table.difference(case)
    if not case.smooth or case.random:
        return failure, once, set()
    with functions_called() as twice:
        is_right = is_right_twice(case)
    return failure, once, twice if is_right else set()


def reference_of(case: Case) -> Tensors:
    """Return what torch gives for a case."""
    tensors = case.draw(torch.float64, "cpu")
    return outcomes(case.expected, tensors, differentiated(case, tensors), 1)


def live_functions() -> dict[Name, FunctionType]:
    """Return the function objects of `ops/` by file and name: a mutant's code is put into them."""
    return {
        (each.__code__.co_filename, each.__code__.co_qualname): each
        for each in gc.get_objects()
        if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(str(OPS))
    }


def try_out(mutant: Mutant, function: FunctionType, table: Table) -> str:
    """Return the verdict on a mutant, and restore the function's own code."""
    own = function.__code__
    function.__code__ = mutant.code
    try:
        return table.verdict(mutant)
    finally:
        function.__code__ = own


def in_processes(function: Callable[[int], Answer], count: int) -> Iterator[Answer]:
    """Yield what a function gives for 0 to `count` - 1, from a forked process for each core."""
    global _asked
    _asked = function
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        yield from pool.imap(_answer, range(count))


_asked: Callable[[int], Any] = int  # what forked processes are asked: it cannot be sent to them


def _answer(number: int) -> Any:
    return _asked(number)


def table_of_cases() -> tuple[Table, int]:
    """Return the table, and how many cases fail without a mutant; these are printed."""
    table, invalid = Table({case.label: reference_of(case) for case in CASES}), 0
    answers = in_processes(lambda number: tried(CASES[number], table), len(CASES))
    for case, (failure, once, twice) in zip(CASES, answers, strict=True):
        if failure:
            invalid += 1
            print(f"{case.label} fails without a mutant, so that it would kill whatever it meets")
            continue
        for name in once:
            table.once[name].append(case)
        for name in twice:
            table.twice[name].append(case)
    return table, invalid


def main() -> int:
    """Run the mutants and print a line per file, then the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="*", help="files of bptrain/ops (default: all)")
    files = [each.resolve() for each in parser.parse_args().files] or FILES
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    table, invalid = table_of_cases()
    live = live_functions()
    mutants = [each for path in files for each in mutants_of(path)]

    def verdict(number: int) -> str:
        mutant = mutants[number]
        return try_out(mutant, live[str(mutant.path), mutant.function], table)

    total: Counter[str] = Counter()
    survivors = []
    verdicts = zip(mutants, in_processes(verdict, len(mutants)), strict=True)
    for path, judged in groupby(verdicts, key=lambda pair: pair[0].path):
        counts: Counter[str] = Counter()
        for mutant, outcome in judged:
            counts[outcome] += 1
            if outcome == "survives":
                survivors.append(mutant)
        total += counts
        print(f"{path.name:32}{counts.total():5} mutants  {dict(counts)}", flush=True)
    return reported(total, survivors, invalid)


def reported(total: Counter[str], survivors: list[Mutant], invalid: int) -> int:
    """Print the survivors and the score; return the exit code."""
    reasons: dict[str, str] = json.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    for mutant in survivors:
        where = f"{mutant.path.name}:{mutant.line} {mutant.function}"
        reason = reasons.get(mutant.key, "UNEXPLAINED")
        print(f"survives  {where}\n    {mutant.change}\n    {reason}")
    killed = total.total() - total["survives"]
    unexplained = sum(mutant.key not in reasons for mutant in survivors)
    share = killed / max(total.total(), 1)
    print(f"{killed} of {total.total()} killed ({share:.2%}); {unexplained} survivors unexplained")
    return int(share < GOAL or unexplained + invalid > 0)


if __name__ == "__main__":
    sys.exit(main())
