"""A look at a text, to be continued: a file, or a folder of *.txt files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bptrain.data.encodings import HEAD, Encoding, is_utf16, likely_encoding
from bptrain.data.first_look.found import Found
from bptrain.data.notes import count
from bptrain.data.text.text_config import TextConfig
from bptrain.data.text.text_file import read_bytes, read_texts, size_of, texts_of
from bptrain.errors import DataError
from bptrain.free_memory import format_bytes
from bptrain.problem import Problem

MOST_BYTES = 2**28  # a longer text is not read to count its characters
MOST_SYMBOLS = 500  # different characters, beyond which bytes are the tokens
WINDOWS = (128, 64, 32, 16, 8)
BATCHES = (64, 32, 16, 8, 4)
WINDOWS_EACH = 4  # in each stream at least, as far as the text allows


def look_at_text(path: Path) -> Found:
    """Return what a text holds, or raise DataError."""
    files = texts_of(path)
    size = sum(map(size_of, files))
    if size > MOST_BYTES:
        raise DataError(
            f"{path}: {format_bytes(size)} of text",
            f"at most {format_bytes(MOST_BYTES)} are looked at",
            "bptrain init text, for a config to fill in",
        )
    encoding = encoding_of_texts(files)
    text = read_texts(path, encoding)
    symbols = len(set(text))
    if symbols < 2:
        raise DataError(f"{path}: {count(symbols, 'character')}: there is nothing to predict")
    unit = "character" if symbols <= MOST_SYMBOLS else "byte"
    tokens = len(text) if unit == "character" else size
    window, batch_size = _sizes(path, tokens, TextConfig(path=str(path)).validation_fraction)
    data: dict[str, Any] = {"kind": "text", "path": str(path), "unit": unit}
    reasons = {"unit": f"{symbols:,} different characters", "window": f"{tokens:,} {unit}s in all"}
    if encoding != "utf-8":
        data["encoding"], reasons["encoding"] = encoding, "it is not UTF-8, and this is likely"
    data |= {"window": window, "batch_size": batch_size}
    seen = [
        f"{count(len(files), 'file')} of text, {tokens:,} {unit}s",
        "guessed: a text to be continued; for texts with labels give a table of both",
    ]
    outputs = symbols if unit == "character" else 256
    problem = Problem("language_model", (window,), outputs, vocabulary=outputs, is_sequence=True)
    return Found(data, reasons, seen, problem, max(1, tokens // window))


def encoding_of_texts(files: Sequence[Path]) -> Encoding:
    """Return the encoding of texts: UTF-8, or the likely one of the first that is not."""
    for path in files:
        content = read_bytes(path)
        if is_utf16(content[:HEAD]):
            return "utf-16"
        try:
            content.decode()
        except UnicodeDecodeError:
            if b"\0" not in content:
                return likely_encoding(content)
    return "utf-8"


def _sizes(path: Path, tokens: int, validated: float) -> tuple[int, int]:
    """Return the largest window and batch that leave some windows in each part of the text."""
    held_out = round(tokens * validated)
    for each in (WINDOWS_EACH, 1):
        for window in WINDOWS:
            for batch_size in BATCHES:
                streams = batch_size * window * each + 1
                if held_out > window and tokens - held_out >= streams:
                    return window, batch_size
    raise DataError(
        f"{path}: {count(tokens, 'character')}: too short to train and to validate on",
        f"of {WINDOWS[-1] * 12} and more something can be learned",
    )
