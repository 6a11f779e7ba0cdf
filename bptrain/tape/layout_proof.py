"""Whether the entries of a program compute the same with the channels last, on a real batch.

The whole step cannot tell to the last digits: where two numbers of a window, or a number and zero,
differ by a rounding, a sum in another order decides otherwise, and the gradient takes another way.
So each entry is compared by itself, its backward pass on the same saved numbers and the same
upstream gradient; the whole step is compared more loosely, which shows what is connected wrongly.
In 16 bits its gradients show nothing: in ResNet-20 those of two right orders differ by 40 %.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from bptrain.tape.calls import Call, Gradients, Value, Values, numbers_in
from bptrain.tape.comparison import Outcome, agree, difference
from bptrain.tape.layout import HALF, Layout
from bptrain.tape.program import Program, without_autocast

LOOSELY = 5e-2  # relative to the norm; a missing term is off by far more


def entries_agree(program: Program, tensors: Sequence[Tensor]) -> bool:
    """Run a program's forward pass; return whether each entry is the same with the channels last.

    So it must also have been recorded with contiguous images, which the copies after it are.
    Buffers and random generators change as in any forward pass.
    """
    layout = Layout(program)
    layout.rewrite()
    relaid = {id(entry): changed for entry, changed in layout.relaid}
    values = program.run(tensors).values
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad(), without_autocast():
        for entry, released in zip(program.entries, program.released, strict=True):
            saved = entry.forward(values)
            changed = relaid.get(id(entry))
            if isinstance(entry, Call) and changed is not None:
                comparison = Comparison(entry, changed, layout.values)
                if not comparison.agrees(values, saved, draws):
                    return False
            for number in released:
                values[number] = None
    return True


def steps_agree(ours: Outcome, reference: Outcome, program: Program) -> bool:
    """Return whether two steps do the same but for roundings, and what is decided by them."""
    if computes_in_16_bits(program):
        ours, reference = ours._replace(gradients=[]), reference._replace(gradients=[])
    return difference(ours, reference, LOOSELY) is None


def computes_in_16_bits(program: Program) -> bool:
    """Return whether an output of a program's entries has 16 bits."""
    likes = (like for entry in program.entries for like in entry.likes)
    return any(like is not None and like.dtype in HALF for like in likes)


class Comparison:
    """An entry beside the same entry with the channels last."""

    def __init__(self, entry: Call, changed: Call, count: int) -> None:
        self.entry, self.changed, self.count = entry, changed, count

    def agrees(self, values: Values, saved: Any, draws: torch.Generator) -> bool:
        """Return whether outputs, what is saved and the gradients are the same.

        values, saved  of the entry, after its forward pass
        draws          what upstream gradients are drawn from
        """
        others: dict[int, Tensor] = {}
        for one, other in zip(self.entry.arguments, self.changed.arguments, strict=True):
            if isinstance(one, Value):
                x = values[one.number]
                others[other.number] = x if one == other else _with_last(x)
        others_saved = self.changed.forward(others)
        numbers = numbers_in(self.entry.outputs), numbers_in(self.changed.outputs)
        outputs = [(values[one], others[other]) for one, other in zip(*numbers, strict=True)]
        if not all(ours.is_contiguous() and agree(theirs, ours) for ours, theirs in outputs):
            return False
        saved_pairs = list(zip(tree_leaves(saved), tree_leaves(others_saved), strict=True))
        if not all(agree(b, a) for a, b in saved_pairs if isinstance(a, Tensor)):
            return False
        return saved is None or self._gradients_agree(values, saved, others_saved, draws)

    def _gradients_agree(
        self, values: Values, saved: Any, others_saved: Any, draws: torch.Generator
    ) -> bool:
        """Return whether the gradients are the same, of the same numbers that were saved."""
        leaves, spec = tree_flatten(others_saved)
        same = [
            torch.empty_like(b).copy_(a) if isinstance(b, Tensor) else b
            for a, b in zip(tree_leaves(saved), leaves, strict=True)
        ]
        upstream = [
            None if number is None else _drawn(values[number], draws)
            for number in self.entry.outputs
        ]
        others_upstream = [None if each is None else _with_last(each) for each in upstream]
        theirs = self._gradients(self.changed, others_upstream, tree_unflatten(same, spec))
        return all(map(agree, theirs, self._gradients(self.entry, upstream, saved)))

    def _gradients(
        self, call: Call, upstream: Sequence[Tensor | None], saved: Any
    ) -> list[Tensor | None]:
        """Return the gradients by the values that a call reads."""
        gradients: Gradients = [None] * self.count
        for number, each in zip(call.outputs, upstream, strict=True):
            if number is not None:
                gradients[number] = each
        call.backward(gradients, saved)
        return [gradients[number] for number in call.reads]


def _with_last(x: Tensor) -> Tensor:
    return x.to(memory_format=torch.channels_last)


def _drawn(like: Tensor, draws: torch.Generator) -> Tensor | None:
    """Return an upstream gradient by an image; None by what else an entry returns."""
    if like.dim() != 4 or not like.is_floating_point():
        return None
    return torch.randn(like.shape, generator=draws).to(like)
