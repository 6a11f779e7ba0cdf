"""Imports at the start of a command."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import inside the block without collecting garbage, then or later.

    An import makes hundreds of thousands of objects that stay: collecting looks through them again
    and again, also when the process ends, and finds nothing. That was a fourth of the start of a
    command.
    """
    was_enabled, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if was_enabled:
            gc.enable()
