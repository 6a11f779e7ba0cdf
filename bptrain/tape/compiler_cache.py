"""The folder in which torch's compiler keeps what it compiled, also for later runs.

A process that is killed while it writes there, or a full disk, leaves a library that cannot be
loaded: each later run of the same network would fail. Such a run compiles in an empty folder.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def compiled_despite_damage(compile_it: Callable[[], T]) -> T:
    """Return what is compiled, in an empty cache if a file of torch's cannot be loaded.

    Raises what the compiler raises.
    """
    try:
        return compile_it()
    except Exception as error:
        if not any(isinstance(each, OSError | ImportError) for each in causes(error)):
            raise
    from torch._inductor.utils import fresh_cache  # imported by the compiler already

    with fresh_cache():
        return compile_it()


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from; the compiler hides some of them."""
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and each not in seen:
            seen.append(each)
            yield each
            left += [each.__cause__, each.__context__, getattr(each, "inner_exception", None)]
