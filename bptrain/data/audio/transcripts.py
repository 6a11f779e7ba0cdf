"""Texts as the targets of a transcription: symbols are characters, and symbol 0 is the blank.

The symbols are the sorted characters of the training texts; spaces around a text are removed.
Connectionist temporal classification (CTC) predicts a symbol or the blank in each frame and needs
a blank between two equal symbols: a text needs as many frames as it has characters, and one more
for each repeated character.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bptrain.data.audio.recordings import Recording
from bptrain.errors import DataError

BLANK = "<blank>"


def symbols_of(recordings: Sequence[Recording]) -> list[str]:
    """Return the symbols of the texts, the blank first."""
    return [BLANK, *sorted({symbol for each in recordings for symbol in each.label.strip()})]


def encoded(recordings: Sequence[Recording], symbols: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the texts as symbols [N, S], padded with blanks, and their lengths [N].

    Raises DataError for an empty text, and for a character that is no symbol.
    """
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    texts = []
    for each in recordings:
        text = each.label.strip()
        if not text:
            raise DataError(f"{each.place}: an empty text", hint="leave the recording out")
        unknown = next((symbol for symbol in text if symbol not in numbers), None)
        if unknown is not None:
            raise DataError(
                f"{each.place}: no training text has the character {unknown!r} of its text",
                f"the training texts have {len(symbols) - 1} different characters",
                "spell all texts alike",
            )
        texts.append(torch.tensor([numbers[symbol] for symbol in text]))
    lengths = torch.tensor([len(text) for text in texts])
    return pad_sequence(texts, batch_first=True), lengths


def too_short(recording: Recording, frames: int) -> DataError | None:
    """Return the error for a recording with fewer frames than its text needs, if it has."""
    text = recording.label.strip()
    needed = len(text) + sum(one == other for one, other in pairwise(text))
    if frames >= needed:
        return None
    return DataError(
        f"{recording.place}: {frames} frames are too few for its text",
        f"{needed} are needed: one for each character, and one between equal ones",
        "a smaller data.features.hop, or leave the recording out",
    )
