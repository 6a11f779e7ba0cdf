"""The bytes that the entries of a program keep for their backward pass, measured in a forward pass.

What fused operations and segments keep is another thing than what their parts did. Parameters and
buffers are there anyway, and do not count.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from bptrain.tape.calls import Call, Entry, Values
from bptrain.tape.program import Program, without_autocast
from bptrain.tape.recorder import new_bytes
from bptrain.tape.segments import Segment


def measure_kept_bytes(program: Program, tensors: Sequence[Tensor]) -> None:
    """Run the forward pass of a batch, and set `keeps` of each entry, those in segments too.

    Buffers and random generators change as in any forward pass.
    """
    seen: set[StorageWeakRef] = set()
    new_bytes(list(program.fixed.values()), seen)
    with torch.no_grad(), without_autocast():
        _measure(program.entries, program.run(tensors).values, seen)


def _measure(entries: Sequence[Entry], values: Values, seen: set[StorageWeakRef]) -> None:
    """Run the entries, and set what each keeps besides the memory in `seen`."""
    for entry in entries:
        if isinstance(entry, Segment):
            entry.keeps = new_bytes(entry.kept(values), seen)
            _measure(entry.entries, values, set(seen))
        else:
            saved = entry.forward(values)
            if isinstance(entry, Call):
                entry.keeps = new_bytes(saved, seen)
