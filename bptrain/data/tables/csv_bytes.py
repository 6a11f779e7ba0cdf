"""The bytes of a CSV file as UTF-8, whatever its encoding, without holding them as a whole."""

import codecs
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from bptrain.data.encodings import HEAD, is_utf16
from bptrain.data.file_kinds import refuse_other_formats
from bptrain.data.tables.csv_dialect import Dialect
from bptrain.data.tables.csv_errors import not_text
from bptrain.data.tables.regular_blocks import end_of_last_row

PIECE = 2**20  # bytes of a file that are decoded at once
IN_MEMORY = 2**26  # bytes of a decoded file; a larger one is written to a temporary file
BOM = "\ufeff"


def opened(path: Path, dialect: Dialect, most_bytes: int | None = None) -> BinaryIO:
    """Return a file's bytes as UTF-8, or raise DataError for one that holds no text.

    most_bytes  fewer than the file has, to read only the whole rows in them; None for all
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    refuse_other_formats(path, head)
    if most_bytes is not None:
        return _first_rows(path, dialect, head, most_bytes)
    if dialect.encoding == "utf-8":
        _refuse_utf16(path, head)
        return path.open("rb")
    return _decoded(path, dialect.encoding)


def _refuse_utf16(path: Path, head: bytes) -> None:
    if is_utf16(head):
        raise not_text(path, head, 0, 1)


def _first_rows(path: Path, dialect: Dialect, head: bytes, most_bytes: int) -> BinaryIO:
    """Return as UTF-8 the whole rows in the first bytes of a file."""
    with path.open("rb") as file:
        content = file.read(most_bytes)
    if dialect.encoding == "utf-8":
        _refuse_utf16(path, head)
    else:  # a character that the end cuts in two is dropped with its row
        content = content.decode(dialect.encoding, "ignore").removeprefix(BOM).encode()
    return BytesIO(content[: end_of_last_row(content, dialect.quote) or len(content)])


def _decoded(path: Path, encoding: str) -> BinaryIO:
    """Return a copy of a file in UTF-8, or raise DataError for a byte that the encoding lacks."""
    decode = codecs.getincrementaldecoder(encoding)().decode
    copy = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  the caller closes it
    before, line_ends, piece = 0, 0, b"?"
    with path.open("rb") as file:
        while piece:
            piece = file.read(PIECE)
            try:
                text = decode(piece, final=not piece)
                copy.write((text.removeprefix(BOM) if before == 0 else text).encode())
            except UnicodeDecodeError as error:  # its object is the piece, behind what was left
                content, left = error.object, len(error.object) - len(piece)
                line = line_ends + piece.count(b"\n", 0, max(0, error.start - left)) + 1
                place = (error.start, line, encoding, before - left)
                raise not_text(path, content, *place) from error
            except UnicodeEncodeError as error:  # half of a character
                raise not_text(path, b"", 0, line_ends + 1, encoding) from error
            before += len(piece)
            line_ends += piece.count(b"\n")
    copy.seek(0)
    return cast("BinaryIO", copy)
