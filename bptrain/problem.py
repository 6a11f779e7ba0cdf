"""What a data set asks of a model: the shape of an input, and the kind of output.

Data sets state it; models, losses and tasks read it, so that none of them knows another.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

TaskName: TypeAlias = Literal[
    "classification",  # one class for each sample
    "regression",  # real numbers for each sample
    "tagging",  # one class for each time step of a sequence
    "language_model",  # the next token at each step of an endless text
    "transcription",  # a text for each sequence, without its alignment to the time steps
]


Scale: TypeAlias = float | tuple[float, ...]  # of all target columns, or of each


class OutputKind(NamedTuple):
    """What a model of a task returns.

    per      an output for each sample, for each time step, for each time step of a text whose
             state is carried from batch to batch, or steps that a text is aligned to
    targets  what outputs are compared with: class indices, numbers, or texts
    """

    per: Literal["sample", "step", "carried step", "unaligned step"]
    targets: Literal["classes", "numbers", "texts"]


OUTPUTS: dict[TaskName, OutputKind] = {
    "classification": OutputKind("sample", "classes"),
    "regression": OutputKind("sample", "numbers"),
    "tagging": OutputKind("step", "classes"),
    "language_model": OutputKind("carried step", "classes"),
    "transcription": OutputKind("unaligned step", "texts"),
}


@dataclass(frozen=True)
class Problem:
    """The question that every sample of a data set asks.

    input_shape  of one sample; of sequences the first axis is time, its length the longest one
    outputs      classes, target columns, or symbols (of a transcription with the blank, symbol 0)
    vocabulary   inputs are tokens below this number; 0 where they are real numbers
    is_sequence  whether the first axis of an input is time
    varies       whether sequences differ in length: they are padded, and come with their lengths
    names        of the classes, columns or symbols, as far as they have any
    center       of regression targets: in the targets' own unit a prediction is
    spread       center + spread * output, for each column where they are tuples; losses are in the
                 model's unit, metrics in the targets'
    mixes        whether training targets are the probabilities of classes, several in a sample
    """

    task: TaskName
    input_shape: tuple[int, ...]
    outputs: int
    vocabulary: int = 0
    is_sequence: bool = False
    varies: bool = False
    names: tuple[str, ...] = ()
    center: Scale = 0.0
    spread: Scale = 1.0
    mixes: bool = False

    @property
    def output_kind(self) -> OutputKind:
        """What a model of this problem returns."""
        return OUTPUTS[self.task]
