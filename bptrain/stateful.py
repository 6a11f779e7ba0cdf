"""What lasts from one step to the next: the protocol of all that a checkpoint holds.

A state is a tree of dicts by string, lists, tensors and plain values. Read back from a file it is
taken as nothing but what it was when written. JSON and Python let many values pass for each other
(True for 1, 0.5 for a whole number); whatever continued from such a value would fail later,
somewhere else. `PlainState` refuses them at once.
"""

from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError

Tree: TypeAlias = Any


@runtime_checkable
class Stateful(Protocol):
    """Something whose next step depends on the steps before."""

    def state(self) -> Tree:
        """Return all that the next step depends on; the tensors are the live ones, not copies."""
        ...

    def restore(self, state: Tree) -> None:
        """Continue from a `state`; raise ValueError for one of something else."""
        ...


class PlainState(BaseModel):
    """The base of plain values that are read back: no conversion, no NaN, no unknown name."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    @classmethod
    def read(cls, values: Tree) -> Self:
        """Return the values, or raise ValueError with the first that is refused."""
        try:
            return cls.model_validate(values)
        except ValidationError as refused:
            first = refused.errors(include_url=False, include_input=False)[0]
            place = "/".join(map(str, first["loc"]))
            # not from `refused`: a traceback would print the value, however large a tensor it is
            raise ValueError(f"{place or 'the state'}: {first['msg']}") from None


def mapping(tree: Tree) -> dict[str, Tree]:
    """Return a mapping, or raise ValueError."""
    if not isinstance(tree, dict):
        raise ValueError(f"a {type(tree).__name__} where a mapping is needed")  # noqa: TRY004
    return tree
