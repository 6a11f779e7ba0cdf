"""What a data set asks of a model: the form of an input, and the kind of answer.

Data sets state it; models, losses and metrics read it, so that none of them knows another.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Task: TypeAlias = Literal[
    "classification",  # one class for each sample
    "regression",  # real numbers for each sample
    "tagging",  # one class for each time step of a sequence
    "language_model",  # the next token at each step of an endless text
    "transcription",  # a text for each sequence, without saying when which letter comes
]


@dataclass(frozen=True)
class Problem:
    """The question that every sample of a data set asks.

    input_shape  of one sample; of sequences the first axis is time, its length the longest one
    outputs      classes, target columns, or symbols (of a transcription with the blank, symbol 0)
    vocabulary   inputs are tokens below this number; 0 where they are real numbers
    is_sequence  whether the first axis of an input is time
    varies       whether sequences differ in length: they are padded, and come with their lengths
    names        of the classes, columns or symbols, as far as they have any
    center       of regression targets: in the targets' own unit an answer is
    spread       center + spread * output; losses are in the model's unit, metrics in the targets'
    mixes        whether training targets are the probabilities of classes, several in a sample
    """

    task: Task
    input_shape: tuple[int, ...]
    outputs: int
    vocabulary: int = 0
    is_sequence: bool = False
    varies: bool = False
    names: tuple[str, ...] = ()
    center: float = 0.0
    spread: float = 1.0
    mixes: bool = False
