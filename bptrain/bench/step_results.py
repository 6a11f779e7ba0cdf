"""The results of a measured training step, as data: what `bench --json` writes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median, quantiles

from bptrain.bench.operation_times import OperationTime


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the turns."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the median and the quartiles of at least two values."""
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high)


@dataclass(frozen=True)
class AlternativeResult:
    """One way to compute the step.

    over_torch          its time over torch.nn's, turn by turn: below 1 it is faster
    kept_bytes          kept from the forward pass for the backward pass
    peak_bytes          most that is allocated at a time during the step, above what was held before
    of_matmul_peak      the step's operations over what the peak would compute in its time
    largest_difference  of outputs, loss and gradients from torch.nn's, relative to their norms;
                        None for torch.compile where dropout draws other numbers
    """

    name: str
    is_ours: bool
    step_s: Spread
    over_torch: Spread
    kept_bytes: int
    peak_bytes: int
    of_matmul_peak: float
    largest_difference: float | None


@dataclass(frozen=True)
class Ratio:
    """The time of one of ours over one of theirs, turn by turn."""

    ours: str
    theirs: str
    spread: Spread


@dataclass(frozen=True)
class Floor:
    """The least time of a step: its matrix products and convolutions, and the optimizer's memory.

    products_s   of the products and convolutions alone, by torch's own route,
                 images in the faster of both memory formats
    optimizer_s  of moving weights, gradients and the optimizer's state once through memory
    """

    products_s: float
    optimizer_s: float

    @property
    def seconds(self) -> float:
        """Both together."""
        return self.products_s + self.optimizer_s


@dataclass(frozen=True)
class StepResults:
    """A measured step.

    name              of the config
    batch             shapes of the inputs
    steps_a_turn      steps that each alternative takes in a turn
    flops             additions and multiplications of the step's products and convolutions
    matmul_peak       of them in a second, in a large matrix product by the faster route
    matmul_routes     the same by each route, such as MKL's and oneDNN's; the fastest turn's
    memory_bandwidth  bytes in a second, read and written, of a copy; the fastest turn's
    operations        of our first engine
    left_out          alternatives that could not run, and why
    """

    name: str
    machine: str
    device: str
    precision: str
    parameters: int
    batch: list[list[int]]
    turns: int
    steps_a_turn: int
    flops: int
    matmul_peak: float
    matmul_routes: dict[str, float]
    memory_bandwidth: float
    floor: Floor
    alternatives: list[AlternativeResult]
    ratios: list[Ratio]
    operations: list[OperationTime]
    left_out: dict[str, str] = field(default_factory=dict)

    def named(self, name: str) -> AlternativeResult:
        """Return the alternative of that name."""
        return next(each for each in self.alternatives if each.name == name)

    def as_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self), indent=2)
