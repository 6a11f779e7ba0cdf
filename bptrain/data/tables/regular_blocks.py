"""Rows of a CSV file as polars reads them, in blocks, each proven right by its bytes.

In blocks, so that neither the file nor the texts of its numbers are ever held as a whole.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

BLOCK_BYTES = 2**24
LONGEST_LINE = 2**22  # bytes
LONGEST_CELL = 131_072  # characters, the csv module's own limit; bytes where polars reads
SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))  # all that str.strip removes
ASCII_SPACE = [ord(each) for each in SPACE if each.isascii() and each not in "\r\n"]
BOM = b"\xef\xbb\xbf"


class IrregularError(Exception):
    """A block that polars may read as something else than it holds."""


def frames_of(
    file: BinaryIO, names: Sequence[str], separator: str, quote: str | None
) -> "Iterator[tuple[pl.DataFrame, NDArray[np.int64]]]":
    """Yield the rows of a file, block by block, with the line of each row's end within its block.

    Raises IrregularError where polars may be wrong.
    """
    import polars as pl

    for block in _blocks(file, quote):
        _refuse_irregular(block, separator, quote)
        try:
            frame = pl.read_csv(
                block,
                has_header=False,
                schema=dict.fromkeys(names, pl.String),
                separator=separator,
                quote_char=quote,
                empty_string_is_null=False,
            )
        except pl.exceptions.PolarsError as error:
            raise IrregularError from error
        yield _checked(frame, block, separator, quote)


def _blocks(file: BinaryIO, quote: str | None) -> Iterator[bytes]:
    """Yield whole rows of a file, each block ending in a line end; blank lines at its end are not.

    With a line end: at the end of a file without one polars drops an empty cell too many.
    """
    rest, first = b"", True
    while chunk := file.read(BLOCK_BYTES):
        block = rest + (chunk.removeprefix(BOM) if first else chunk)
        first = False
        body = block[: end_of_last_row(block, quote)].rstrip(b"\r\n")
        if not body:
            if len(block) > 2 * BLOCK_BYTES:
                raise IrregularError
            rest = block
            continue
        line_end = b"\r\n" if block[len(body) :].startswith(b"\r\n") else b"\n"
        yield body + line_end
        rest = block[len(body) + len(line_end) :]
    if rest := rest.rstrip(b"\r\n"):
        yield rest + b"\n"


def end_of_last_row(block: bytes, quote: str | None) -> int:
    """Return where the last row ends that is not within quotes; 0 if none does."""
    end = block.rfind(b"\n")
    if quote is not None and quote.encode() in block:
        marks = np.flatnonzero(np.frombuffer(block, np.uint8) == ord(quote))
        if (before := int(np.searchsorted(marks, end))) % 2:
            end = block.rfind(b"\n", 0, int(marks[before - 1]))
    return end + 1


def _refuse_irregular(block: bytes, separator: str, quote: str | None) -> None:
    if (
        b"\0" in block
        or block.startswith(BOM)  # which polars drops from any block
        or (b"\r" in block and block.count(b"\r") != block.count(b"\r\n"))
        or not _quotes_are_regular(block, separator, quote)
    ):
        raise IrregularError


def _quotes_are_regular(content: bytes, separator: str, quote: str | None) -> bool:
    """Tell whether quotes open right after a separator or line end and close right before one.

    Every reader then splits the file into the same cells. A doubled quote inside of quotes, which
    means the character itself, counts as one that closes and one that opens right after it.
    """
    if quote is None or quote.encode() not in content:
        return True
    characters = np.frombuffer(content, np.uint8)  # its last one, a line end, precedes the first
    marks = np.flatnonzero(characters == ord(quote))
    before, after = characters[marks[::2] - 1], characters[marks[1::2] + 1]
    ends = [ord(each) for each in (separator, "\n", quote)]
    return bool(
        len(marks) % 2 == 0
        and np.isin(before, ends).all()
        and np.isin(after, [*ends, ord("\r")]).all()
    )


def _checked(
    frame: "pl.DataFrame", block: bytes, separator: str, quote: str | None
) -> "tuple[pl.DataFrame, NDArray[np.int64]]":
    """Return a block's rows without spaces around cells, and the line where each ends."""
    import polars as pl

    is_quoted = quote is not None and quote.encode() in block
    if not _is_complete(frame, block, separator, is_quoted) or _is_long(frame, block, is_quoted):
        raise IrregularError
    lines = np.arange(1, frame.height + 1)
    if is_quoted:
        newlines = frame.select(pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True)))
        lines = (newlines.to_series().cast(int) + 1).cum_sum().to_numpy()
    spaces = any(each in block for each in ASCII_SPACE if chr(each) != separator or is_quoted)
    if is_quoted or spaces or not block.isascii():
        frame = frame.select(pl.all().str.strip_chars(SPACE))
    return frame, lines


def _is_complete(frame: "pl.DataFrame", block: bytes, separator: str, is_quoted: bool) -> bool:
    """Tell whether no row was too short: the file then has the separators that its cells need.

    Those inside of quotes are still in the cells. A row that is too long is an error of polars.
    """
    import polars as pl

    separators = block.count(separator.encode())
    if is_quoted:
        inside = pl.sum_horizontal(pl.all().str.count_matches(separator, literal=True).sum())
        separators -= int(frame.select(inside).item())
    return separators == frame.height * (frame.width - 1)


def _is_long(frame: "pl.DataFrame", block: bytes, is_quoted: bool) -> bool:
    """Tell whether a cell or a row may be longer than the limits."""
    import polars as pl

    if not is_quoted:
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
        if int(np.diff(ends, prepend=-1).max()) <= LONGEST_CELL:
            return False
    sizes = pl.all().str.len_bytes()
    cell = frame.select(pl.max_horizontal(sizes.max())).item()
    row = frame.select(pl.sum_horizontal(sizes.cast(int)).max()).item()
    return bool(cell > LONGEST_CELL or row + 3 * frame.width > LONGEST_LINE)
