"""Imports at the start of a command."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import inside the block without collecting garbage.

    An import makes hundreds of thousands of objects that stay: collecting looks through them again
    and again, and finds nothing. That was a sixth of the start of a command.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
