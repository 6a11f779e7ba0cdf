"""The derivation of a module's gradients, in its help: that of its file in `bptrain.ops`."""

import sys
from collections.abc import Iterable


def with_derivations(classes: Iterable[type]) -> None:
    """Append to each class's docstring the derivation of the operation that it computes with.

    A module's file has the name of its operation's; one without an operation keeps its docstring.
    """
    for kind in classes:
        stem = kind.__module__.rpartition(".")[2]
        derivation = getattr(sys.modules.get(f"bptrain.ops.{stem}"), "__doc__", None)
        if kind.__doc__ and derivation:  # python -OO has none
            kind.__doc__ = (
                f"{kind.__doc__}\n\nIts derivation, bptrain/ops/{stem}.py:\n\n{derivation}"
            )
