"""The protocol of everything that a checkpoint saves and restores.

A state is a tree of dicts with string keys, lists, tensors and plain values. Values read back
from a file must have the types that they were written with: Python accepts True for 1, and JSON
has one type for 1 and 1.5, so a wrong value would fail only later and somewhere else.
`PlainState` refuses it immediately.
"""

from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError

Tree: TypeAlias = Any


@runtime_checkable
class Stateful(Protocol):
    """An object whose next step depends on the previous steps."""

    def state(self) -> Tree:
        """Return all that the next step depends on; tensors are not copied."""
        ...

    def restore(self, state: Tree) -> None:
        """Continue from a `state`; raise ValueError if it does not fit."""
        ...


class PlainState(BaseModel):
    """Base class of saved plain values: no conversion, no NaN, no unknown name."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    @classmethod
    def read(cls, values: Tree) -> Self:
        """Return the values, or raise ValueError naming the first invalid one."""
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
