"""Which code computes an operation: the formula on the page, or a library's fused kernel.

An element-wise gradient of five factors is five passes over memory when its lines run one by one,
and one pass in a fused kernel. Both stand in the operation's file and give the same numbers to
rounding; this setting chooses between them:

    fused      the kernel where the file has one, the formula elsewhere (the default)
    formula    the formula everywhere
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias

Kernels: TypeAlias = Literal["fused", "formula"]

_chosen: ContextVar[Kernels] = ContextVar("kernels", default="fused")


def chosen_kernels() -> Kernels:
    """Return the kernels that operations use here."""
    return _chosen.get()


@contextmanager
def use_kernels(kernels: Kernels) -> Iterator[None]:
    """Let every operation inside the block, and its backward pass later, use these kernels."""
    token = _chosen.set(kernels)
    try:
        yield
    finally:
        _chosen.reset(token)
