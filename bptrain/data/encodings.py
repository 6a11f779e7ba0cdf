"""The encodings of text files: those that a config can name, and the likely one of some bytes."""

from typing import Literal

Encoding = Literal[
    "utf-8",
    "utf-16",
    "cp1252",
    "latin-1",
    "iso-8859-2",
    "iso-8859-15",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp437",
    "cp850",
    "mac-roman",
    "koi8-r",
    "shift_jis",
    "cp932",
    "gb18030",
    "big5",
    "euc-jp",
    "euc-kr",
]

HEAD = 4_096  # bytes of a file that are looked at


def is_utf16(head: bytes) -> bool:
    """Tell whether the first bytes of a file are text in UTF-16, with its mark or without."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    half = len(head) // 2
    nuls = max(head[::2].count(0), head[1::2].count(0))
    return half >= 4 and nuls >= 0.8 * half and head.count(0) < 1.2 * half


def likely_encoding(content: bytes) -> Encoding:
    """Return the encoding that text which is not UTF-8 most likely has."""
    if is_utf16(content[:HEAD]):
        return "utf-16"
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"
