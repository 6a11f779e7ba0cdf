"""Freed memory is kept for the next step, unless the environment has settings of its own."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
from bptrain.train.heap import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(48 << 20)))
    libc.memset(block, 1, ctypes.c_size_t(48 << 20))
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before, is_set = faults(), keep_freed_memory()
faults()
print(is_set, before > 5000, faults() > 5000)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the GNU C library")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "True True False"),  # a block of 48 MiB has 12,288 pages
        ({"MALLOC_TRIM_THRESHOLD_": "131072"}, "False True True"),
    ],
)
def test_pages_of_a_freed_block_are_not_made_anew(settings: dict[str, str], expected: str) -> None:
    others = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=others | settings, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.split() == expected.split()
