"""Arrays of numbers from .npz files, by numpy.load behind a check of their sizes.

A .npz file is a zip file of .npy files. The zip's directory and each array's header declare a size;
numpy allocates what a header declares. Both are therefore compared with each other, and with the
file's own size, before numpy.load sees the file. Arrays of Python objects, which only pickle could
read, are refused.
"""

import warnings
import zlib
from collections.abc import Collection, Mapping
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bptrain.data.data_file import refuse_unless_file
from bptrain.data.encodings import HEAD
from bptrain.data.file_kinds import NPZ, binary_format
from bptrain.errors import DataError, shorten

LARGEST_BYTES = 2**32  # of all arrays of a file
MOST_ARRAYS = 1_000
MOST_DIMENSIONS = 32  # that every version of numpy has
# above LARGE bytes no real data is packed better than 200 to 1, but a zip bomb is
LARGE, PACKED = 2**26, 200
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
NUMBERS = "fiub"  # kinds of dtype: float, signed, unsigned, boolean
TEXT = "U"


def read_npz(
    path: Path, wanted: Collection[str], texts: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """Return the arrays of these names that a file holds, in the machine's byte order.

    texts  the arrays that may hold texts

    Raises DataError, which names the file and the array.
    """
    refuse_unless_file(path, "data.path names a .npz file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of numpy, about headers of Python 2
            names = _checked_names(path, wanted, texts)
            with np.load(path, allow_pickle=False) as file:
                return {name: _native(file[name]) for name in names}
    except (BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: {_other_format(path)}", str(error), "numpy.savez writes such files"
        ) from error
    except (NotImplementedError, RuntimeError) as error:  # zipfile's, for a method or a password
        raise DataError(f"{path}: cannot be unpacked", str(error)) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read", str(error)) from error


def names_in(path: Path) -> list[str]:
    """Return the names of the arrays in a file that read_npz has read."""
    with ZipFile(path) as archive:
        return list(_arrays_in(archive.infolist()))


def _arrays_in(members: Collection[ZipInfo]) -> Mapping[str, ZipInfo]:
    return {member.filename.removesuffix(".npy"): member for member in members}


def _native(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def _checked_names(path: Path, wanted: Collection[str], texts: Collection[str]) -> list[str]:
    """Return which of the arrays are there, if it is safe to have numpy read them."""
    with ZipFile(path) as archive:
        members = archive.infolist()
        arrays = _arrays_in(members)
        if len(members) > MOST_ARRAYS or len(arrays) < len(members):
            raise DataError(
                f"{path}: not a real .npz file", f"{len(members):,} arrays, or two of one name"
            )
        found = {name: member for name, member in arrays.items() if name in wanted}
        _refuse_bombs(path, found)
        for name, member in found.items():
            kinds = NUMBERS + TEXT * (name in texts)
            _check_header(path, kinds, archive, member)
    return list(found)


def _other_format(path: Path) -> str:
    """Return what a file is that cannot be read as an .npz file."""
    with path.open("rb") as file:
        found = binary_format(file.read(HEAD), ".npz")  # as which any zip file counts
    if found is None or found.name == NPZ:
        return "damaged, or no .npz file"
    return f"is {found.name}, no .npz file"


def _refuse_bombs(path: Path, arrays: Mapping[str, ZipInfo]) -> None:
    """Raise DataError for sizes in the zip's directory that cannot be real."""
    if sum(each.compress_size for each in arrays.values()) > path.stat().st_size:
        raise DataError(f"{path}: damaged, or no .npz file", "its arrays are larger than itself")
    total = sum(each.file_size for each in arrays.values())
    if total > LARGEST_BYTES:
        raise DataError(
            f"{path}: {total:,} bytes unpacked, at most {LARGEST_BYTES:,} are read",
            "a damaged or hostile file, or one too large to hold",
        )
    for name, each in arrays.items():
        if each.file_size > LARGE and each.file_size > PACKED * each.compress_size:
            raise DataError(
                f"{path}: array {name!r} unpacks to {each.file_size:,} bytes",
                f"from {each.compress_size:,}: no data packs that well",
                "numpy.savez, without compression, if this is real",
            )


def _check_header(path: Path, kinds: str, archive: ZipFile, member: ZipInfo) -> None:
    """Raise DataError unless an array holds what it may, and as much as its header declares.

    kinds  of dtype that it may have
    """
    name = member.filename.removesuffix(".npy")
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise DataError(f"{path}: array {name!r} is packed in a way that numpy does not use")
    with archive.open(member) as stream:
        try:
            shape, _, dtype = HEADERS[npy.read_magic(stream)](stream)
        except (ValueError, KeyError) as error:
            raise DataError(
                f"{path}: array {name!r} has no valid header",
                shorten(str(error)),
                "numpy.savez writes it",
            ) from error
        left = member.file_size - stream.tell()
    if len(shape) > MOST_DIMENSIONS or any(type(size) is not int for size in shape):
        raise DataError(
            f"{path}: array {name!r} has no valid header", shorten(f"its shape is {shape}")
        )
    if dtype.hasobject:
        raise DataError(
            f"{path}: array {name!r} holds Python objects",
            "reading them could run code",
            "flat values and lengths in place of a list of arrays, or padding",
        )
    if dtype.kind not in kinds or dtype.subdtype is not None:
        raise DataError(f"{path}: array {name!r} holds {shorten(str(dtype), 60)}, expected numbers")
    declared = prod(shape) * dtype.itemsize
    if declared != left or any(not 0 <= size <= LARGEST_BYTES for size in shape):
        raise DataError(
            f"{path}: array {name!r} declares {shorten(str(list(shape)), 60)} {dtype}, "
            f"{shorten(f'{declared:,}', 60)} bytes",
            f"the file holds {left:,}",
            "write the file again",
        )
