"""A formula that is written out, and the kernel that carries it out in one pass over memory.

An element-wise gradient of five factors is five passes over memory when its lines run one by one,
and one pass in a fused kernel. The lines are what this project exists for, the kernel is what
trains at full speed, so both stand in the file: the function's body is the mathematics, its
decorator names the kernel that runs in its place. The tests put the body in the kernel's place and
hold it to the same referees, so that it can be read as what really happens.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar, cast

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class WrittenOut(Protocol[Arguments, Result]):
    """A function that a kernel carries out; `written_out` is its own body."""

    written_out: Callable[Arguments, Result]

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Run the kernel."""
        ...


def carried_out_by(
    kernel: Callable[Arguments, Result],
) -> Callable[[Callable[Arguments, Result]], WrittenOut[Arguments, Result]]:
    """Decorate a written-out function by the kernel that computes the same, with its arguments."""

    def decorate(written_out: Callable[Arguments, Result]) -> WrittenOut[Arguments, Result]:
        @wraps(written_out)
        def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            return kernel(*args, **kwargs)

        carried_out = cast("WrittenOut[Arguments, Result]", run)
        carried_out.written_out = written_out
        return carried_out

    return decorate
