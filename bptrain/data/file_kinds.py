"""What a file is that is no text or table: named for what it is, so that a user knows what to do.

Nothing is unpacked here; a file is recognized by its first bytes, as `file` does it.
"""

import codecs
from pathlib import Path
from typing import NamedTuple

from bptrain.data.data_file import refuse_unless_file
from bptrain.data.encodings import HEAD, is_utf16, likely_encoding
from bptrain.errors import DataError

PACKED = "unpack it, and name the file inside"
NPZ = "an .npz file of arrays"
AS_CSV = "save the table as CSV"
FORMATS = (  # first bytes, what such a file is, what to do with it
    (b"\x1f\x8b", "compressed by gzip", PACKED),
    (b"BZh", "compressed by bzip2", PACKED),
    (b"\xfd7zXZ\0", "compressed by xz", PACKED),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", PACKED),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", PACKED),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook of the old format (.xls)", AS_CSV),
    (b"PAR1", "a Parquet file", "a name that ends in .parquet"),
    (b"SQLite format 3\0", "an SQLite database", AS_CSV),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", AS_CSV),
    (b"ARROW1", "an Arrow (Feather) file", "save the table as CSV or Parquet"),
    (b"\x93NUMPY", "an array of numpy (.npy)", AS_CSV),
    (b"%PDF-", "a PDF document", AS_CSV),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", "data.kind: image_folder, for a folder of images"),
    (b"\xff\xd8\xff", "a JPEG image", "data.kind: image_folder, for a folder of images"),
)
UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
TAR_MARK, TAR_PLACE = b"ustar", 257
RICH_TEXT = b"{\\rtf"
MARKUP = (b"<!doctype", b"<html", b"<?xml")


class Format(NamedTuple):
    """What a file is, and what to do with it where another was expected."""

    name: str
    hint: str


def binary_format(head: bytes, ending: str = "") -> Format | None:
    """Return what a file that begins so is; None for what may be text.

    ending  of its name
    """
    for start, name, hint in FORMATS:
        if head.startswith(start):
            return Format(name, hint)
    if head.startswith(TAR_MARK, TAR_PLACE):
        return Format("a tar archive", PACKED)
    if not head.startswith(b"PK\3\4"):
        return None
    # a workbook and arrays of numpy are zip files, too
    if ending.lower() in (".xlsx", ".xlsm") or b"xl/" in head or b"[Content_Types]" in head:
        return Format("an Excel workbook", AS_CSV)
    if ending.lower() == ".npz" or b".npy" in head:
        return Format(NPZ, "data.kind: sequence, for sequences of numbers")
    return Format("a zip file", PACKED)


def refuse_other_formats(path: Path, head: bytes) -> None:
    """Raise DataError for a file whose first bytes are those of another format than a table's."""
    refuse_utf32(str(path), head)
    found = binary_format(head, path.suffix)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(RICH_TEXT):
        found = Format("a document in rich text format (.rtf)", AS_CSV)
    if text.lower().startswith(MARKUP):
        found = Format("a web page or XML", AS_CSV)
    if text.startswith((b'{"', b'[{"', b"[\n", b"{\n")):
        found = Format("JSON", AS_CSV)
    if found is not None:
        raise DataError(f"{path}: is {found.name}, no table of text", "", found.hint)


def refuse_binary(source: str, head: bytes) -> None:
    """Raise DataError for a file that is of a known format, where a text was expected."""
    found = binary_format(head)
    if found is not None:
        hint = found.hint if found.hint == PACKED else "a text file"
        raise DataError(f"{source}: is {found.name}, no text", "", hint)


def refuse_utf32(source: str, head: bytes) -> None:
    """Raise DataError for text in UTF-32, which begins as UTF-16 does."""
    if head.startswith(UTF32):
        raise DataError(f"{source}: is UTF-32, not UTF-8 text", "", "save the file in UTF-8")


def encoding_of(path: Path, most_bytes: int) -> str:
    """Return the likely encoding of a file whose first bytes are not UTF-8; "" for one in UTF-8."""
    refuse_unless_file(path, "a CSV file")
    with path.open("rb") as file:
        content = file.read(most_bytes)
    if is_utf16(content[:HEAD]):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)  # the end may cut a character
    except UnicodeDecodeError:
        return "" if b"\0" in content else likely_encoding(content)
    return ""
