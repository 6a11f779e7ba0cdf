"""Keep the memory that a training step frees for the next one, in the GNU C library's allocator.

It gives each block above a threshold back to the system, and a new one is cleared page by page at
the first touch. The threshold grows with what is freed, but to 32 MiB at most, and the activations
of a sequence are larger. What is kept is at most about the peak of what was in use.
"""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST_KEPT = 2**30  # bytes of a block
MOST_FREE = 2**31 - 1  # bytes at the end of the heap; mallopt takes an int
OWN_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Set the allocator of this process so; return whether it is set.

    Not where the environment sets it already, or the C library is another one. An allocator that
    takes glibc's place, such as jemalloc, has no such threshold and is left as it is.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in OWN_SETTINGS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(M_TRIM_THRESHOLD, MOST_FREE))
