"""The rows of one call: its gradients against each test oracle, by kernels and by formulas."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite

import torch

from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.verify.comparison import SMALLEST, Comparison
from bptrain.verify.degenerate import too_few_values
from bptrain.verify.finite_differences import TOLERANCE, Sampling, differences
from bptrain.verify.given_values import compared_as_given, is_by_hand
from bptrain.verify.kernels_used import kernels_used
from bptrain.verify.layer_calls import LayerCall
from bptrain.verify.long_sums import LOST as LOST_SUM
from bptrain.verify.long_sums import lost_sums
from bptrain.verify.named_tensors import PARAMETER, Tensors
from bptrain.verify.parity import GRADIENT, aligned, outcomes, parity
from bptrain.verify.points import nearby
from bptrain.verify.repetition import repeated
from bptrain.verify.report import Oracle, Row
from bptrain.verify.rounding import changed_in_the_last_place, is_rounding
from bptrain.verify.training_precision import in_precision

SAME = 1e-9  # relative: two orders of summation in float64
NOISE = 1e-5  # of the largest gradient: what cancels (a bias before a normalization) leaves 1e-16
PRECISIONS: dict[torch.dtype, Oracle] = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
SEED = 11  # of the upstream gradients, the points and the sampled elements
SEEDS_NEARBY = (12, 13)  # of points where an error is an error again
AT_KINKS = "wrong at exactly these inputs alone, at a kink, a tie or a zero"
UNREPEATABLE = "the forward pass gives other outputs the second time"
NO_SMOOTH = "every element looked at is at a kink, or lost in the rounding of the loss"
LOST = "nothing is left of it but rounding"
ON_PURPOSE = "not the slope of the forward pass at some elements, but torch's gradient is the same"


def rows_of(
    call: LayerCall,
    precision: torch.dtype,
    sampling: Sampling,
    progress: Callable[[float], None],
    on_purpose: set[str],
) -> list[Row]:
    """Return the rows of a call against each oracle, for the kernels and for the formulas.

    progress    is called with the fraction of the call's tensors that are done
    on_purpose  tensors whose gradient is not the slope, such as an embedding with padding
    """
    if not call.differentiable:
        return []
    point = call.point_of(SEED)
    choices = kernels_used(call.as_function(call.module), point, call.differentiable)
    found = []
    for number, kernels in enumerate(choices):

        def share(part: float, before: int = number) -> None:
            progress((before + part) / len(choices))

        with use_kernels(kernels):
            found += _Oracles(call, kernels, point, sampling, share, on_purpose).rows(precision)
    return found


@dataclass(frozen=True)
class _Oracles:
    """A call whose operations use these kernels, and the point to compare its gradients at."""

    call: LayerCall
    kernels: Kernels
    point: Tensors
    sampling: Sampling
    progress: Callable[[float], None]
    on_purpose: set[str]

    def rows(self, precision: torch.dtype) -> list[Row]:
        """Return the rows against every oracle."""
        rows = self._second_time()
        if rows:
            return rows  # there is no one gradient to compare
        torch_rows = [*self._against_torch()]
        agreed: set[str] = set()
        if self.call.reference is not None and not self._is_by_hand(self.call.reference):
            agreed = {row.tensor for row in torch_rows if row.is_judged and row.is_right}
        rows = [*self._numeric(agreed | self.on_purpose), *torch_rows]
        if all(row.is_right for row in rows):
            rows += self._as_given()
        unjudged = self._too_few_values()
        found, bound = in_precision(self.call, self.point, precision, SEED, set(unjudged))
        rows.append(self._row(PRECISIONS[precision], found, bound))
        if precision != torch.float32:
            rows += [
                self._row(PRECISIONS[precision], each, LOST_SUM)
                for each in lost_sums(self.call, self.point, precision)
            ]
        return [
            replace(row, note=unjudged[row.tensor], is_judged=False)
            if row.tensor in unjudged
            else row
            for row in rows
        ]

    @property
    def _ours(self) -> Callable[[Tensors], Tensors]:
        return self.call.as_function(self.call.module)

    def _is_by_hand(self, reference: torch.nn.Module) -> bool:
        """Tell whether the reference has backward passes that are not torch's own."""
        return is_by_hand(self.call.as_function(reference), self.point, self.call.differentiable)

    def _second_time(self) -> list[Row]:
        """Return a row for what the call answers otherwise the second time."""
        again = repeated(self._ours, self.point, self.call.differentiable, SEED)
        for each in again.outputs:
            if not each.relative_error <= SAME:
                return [self._row("the second time", each, SAME, 0, UNREPEATABLE, is_judged=False)]
        return [
            self._row("the second time", each, SAME)
            for each in again.gradients
            if not each.relative_error <= SAME
        ]

    def _numeric(self, agreed: set[str]) -> Iterator[Row]:
        """Yield rows against finite differences.

        agreed  tensors whose gradient is torch's: what is not the slope there is so on purpose
        """
        names = self.call.differentiable
        compared = differences(self._ours, self.point, names, SEED, self.sampling)
        for number, each in enumerate(compared, start=1):
            self.progress(number / len(names))
            nothing = Comparison(each.name, None, 0.0, 0.0, 0.0)
            row = partial(self._row, "finite differences", each.found or nothing, TOLERANCE)
            if each.outside is not None and each.name.removeprefix(PARAMETER) not in agreed:
                yield self._row("finite differences", each.outside, TOLERANCE, 0, AT_KINKS)
            if each.found is None:
                yield row(each.skipped, NO_SMOOTH, is_judged=False)
            elif not each.is_wrong:
                yield row(each.skipped)
            elif each.name.removeprefix(PARAMETER) in agreed:
                yield row(each.skipped, ON_PURPOSE, is_judged=False)
            elif self._is_wrong_nearby(each.name):
                yield row(each.skipped)
            else:
                yield row(each.skipped + 1, NO_SMOOTH, is_judged=False)

    def _is_wrong_nearby(self, name: str) -> bool:
        """Tell whether a tensor's gradient is wrong at a point nearby, too."""
        for seed in SEEDS_NEARBY:
            point = nearby(self.point, self.call.differentiable, seed)
            (found,) = differences(self._ours, point, [name], SEED, self.sampling)
            if found.is_wrong:
                return True
        return False

    def _against_torch(self) -> Iterator[Row]:
        """Yield the comparison of each output and gradient."""
        if self.call.reference is None:
            return
        names = self.call.differentiable
        theirs = self.call.as_function(self.call.reference)
        found = [outcomes(each, self.point, names, SEED) for each in (self._ours, theirs)]
        mine, expected = aligned(*found)
        changed: Tensors = {}
        for each in parity(mine, expected, noise(expected)):
            is_lost = False
            if not each.relative_error <= SAME:
                changed = changed or outcomes(
                    theirs, changed_in_the_last_place(self.point, names), names, SEED
                )
                name = each.tensor
                is_lost = is_rounding(mine[name], expected[name], changed[name])
            note = LOST if is_lost else ""
            yield self._row("torch autograd", each, SAME, 0, note, is_judged=not is_lost)

    def _as_given(self) -> Iterator[Row]:
        """Yield a row for each tensor that differs at the given inputs alone."""
        call = self.call
        if call.is_whole or all(self.point[name] is each for name, each in call.given.items()):
            return
        oracle: Oracle = "finite differences" if call.reference is None else "torch autograd"
        tolerance = TOLERANCE if call.reference is None else SAME
        for each in compared_as_given(call, SEED, SAME, noise):
            is_output = call.reference is not None and not each.tensor.startswith(GRADIENT)
            is_defined = isfinite(each.ours) or not isfinite(each.reference)
            note = AT_KINKS if is_defined and not is_output else ""
            yield self._row(oracle, each, tolerance, 1, note)

    def _too_few_values(self) -> dict[str, str]:
        """Return why the gradient by the input cannot be compared, if so."""
        first = self.call.given.get("input")
        why = "" if first is None else too_few_values(self.call.module, first)
        return {"input": why} if why else {}

    def _row(
        self,
        oracle: Oracle,
        found: Comparison,
        tolerance: float,
        kinks: int = 0,
        note: str = "",
        *,
        is_judged: bool = True,
    ) -> Row:
        call = self.call
        of = (call.name, call.kind, self.kernels)
        return Row(*of, oracle, found, tolerance, kinks, note, is_judged)


def noise(outcome: Tensors) -> float:
    """Return the magnitude that errors are relative to at least."""
    sizes = [each[each.isfinite()].abs() for each in outcome.values()]
    largest = max([float(each.max()) for each in sizes if each.numel()], default=0.0)
    return NOISE * max(largest, SMALLEST)
