"""Which programs round otherwise than their operations one by one, and how far that may lead."""

from bptrain.ops.linear_cross_entropy import linear_cross_entropy_function
from bptrain.tape.batch import Batch, is_autocast
from bptrain.tape.calls import Call
from bptrain.tape.comparison import TOLERANCE_16_BIT
from bptrain.tape.compiled import CompiledProgram
from bptrain.tape.program import Program


def rounds_otherwise(program: Program | CompiledProgram) -> bool:
    """Return whether a program is compiled, or adds up a loss in chunks of samples."""
    return isinstance(program, CompiledProgram) or any(
        isinstance(each, Call) and each.operation is linear_cross_entropy_function
        for each in program.entries
    )


def tolerance_of(program: Program | CompiledProgram | None, batch: Batch) -> float | None:
    """Return how far its numbers may be from autograd's; None as for sums in another order.

    Under autocast gradients are float32, but made of 16-bit numbers: those of such a program are
    rounded in other places.
    """
    rounds = program is not None and rounds_otherwise(program)
    return TOLERANCE_16_BIT if rounds and is_autocast(batch) else None
