"""Which programs round otherwise than their operations one by one, and how far that may lead."""

from collections.abc import Sequence

from bptrain.ops.linear_cross_entropy import linear_cross_entropy_function
from bptrain.tape.batch import Batch, is_autocast
from bptrain.tape.calls import Call
from bptrain.tape.comparison import TOLERANCE_16_BIT, Outcome, difference
from bptrain.tape.compiled import CompiledProgram
from bptrain.tape.layout_proof import computes_in_16_bits, steps_agree
from bptrain.tape.program import Program


def rounds_otherwise(program: Program | CompiledProgram) -> bool:
    """Return whether a program is compiled, or adds up a loss in chunks of samples."""
    return isinstance(program, CompiledProgram) or any(
        isinstance(each, Call) and each.operation is linear_cross_entropy_function
        for each in program.entries
    )


def tolerance_of(program: Program, batch: Batch) -> float | None:
    """Return how far its numbers may be from autograd's; None as for sums in another order.

    Under autocast gradients are float32, but made of 16-bit numbers: those of such a program are
    rounded in other places.
    """
    return TOLERANCE_16_BIT if rounds_otherwise(program) and is_autocast(batch) else None


def difference_compiled(
    made: Program | CompiledProgram,
    program: Program,
    ours: Sequence[Outcome],
    reference: Sequence[Outcome],
) -> str | None:
    """Return in words what differs between a compiled program and autograd, or None.

    program  it was made of this, which does what autograd does. As one graph it sums in another
             order everywhere: in ResNet-20 the gradients are then off by 1 % in float32. Where only
             its cells are compiled, they are as precise as those of the program; in 16 bits they
             are more precise, as they round once an equation
    """
    tolerance = TOLERANCE_16_BIT if computes_in_16_bits(program) else None
    for one, other in zip(ours, reference, strict=True):
        if isinstance(made, CompiledProgram) and steps_agree(one, other, program):
            continue
        if wrong := difference(one, other, tolerance):
            return wrong
    return None
