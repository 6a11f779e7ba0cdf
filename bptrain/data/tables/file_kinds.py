"""What a file is that is no table of text: named for what it is, so that a user knows what to do.

Nothing is unpacked here; a file is recognized by its first bytes, as `file` does it.
"""

import codecs
from pathlib import Path

from bptrain.data.data_file import refuse_unless_file
from bptrain.data.encodings import HEAD, is_utf16, likely_encoding
from bptrain.errors import DataError

PACKED = "unpack it, and name the file inside"
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
    (b"{\\rtf", "a document in rich text format (.rtf)", AS_CSV),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", "data.kind: image_folder, for a folder of images"),
    (b"\xff\xd8\xff", "a JPEG image", "data.kind: image_folder, for a folder of images"),
)
UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
TAR_MARK, TAR_PLACE = b"ustar", 257
MARKUP = (b"<!doctype", b"<html", b"<?xml")


def refuse_other_formats(path: Path, head: bytes) -> None:
    """Raise DataError for a file whose first bytes are those of another format."""
    for start, name, hint in FORMATS:
        if head.startswith(start):
            raise DataError(f"{path}: is {name}, no table of text", "", hint)
    if head.startswith(UTF32):
        hint = "save the file in UTF-8"
        raise DataError(f"{path}: is UTF-32, no UTF-8 text", "", hint)
    if head.startswith(TAR_MARK, TAR_PLACE):
        raise DataError(f"{path}: is a tar archive, no table of text", "", PACKED)
    if head.startswith(b"PK\3\4"):
        _refuse_zip(path, head)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.lower().startswith(MARKUP):
        raise DataError(f"{path}: is a web page or XML, no table of text", "", AS_CSV)
    if text.startswith((b'{"', b'[{"', b"[\n", b"{\n")):
        raise DataError(f"{path}: is JSON, no table of text", "", AS_CSV)


def _refuse_zip(path: Path, head: bytes) -> None:
    """Raise DataError for a zip file, which a workbook or arrays of numpy are, too."""
    if path.suffix.lower() in (".xlsx", ".xlsm") or b"xl/" in head or b"[Content_Types]" in head:
        raise DataError(f"{path}: is an Excel workbook, no table of text", "", AS_CSV)
    if path.suffix.lower() == ".npz" or b".npy" in head:
        hint = "data.kind: sequence, for sequences of numbers"
        raise DataError(f"{path}: is an .npz file of arrays, no table", "", hint)
    raise DataError(f"{path}: is a zip file, no table of text", "", PACKED)


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
