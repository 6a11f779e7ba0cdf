"""Broken tables and sequence files: what they hold, and words that the refusal must say."""

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

GOOD = [f"{row},{row % 7}.5,{'ab'[row % 2]},{row % 2}" for row in range(20)]


@dataclass(frozen=True)
class Broken:
    """A file's content, config words beside its path, the error's words and its exit code."""

    content: bytes
    said: str
    words: tuple[str, ...] = ()
    code: int = 3
    also: str = ""
    files: dict[str, bytes] = field(default_factory=dict)


def table(*changes: tuple[int, str], header: str = "x,z,c,y", end: str = "\n") -> bytes:
    """Return a sound table in which some rows are others."""
    rows = GOOD.copy()
    for row, text in changes:
        rows[row] = text
    return end.join([header, *rows, ""]).encode()


def column(name: str, cells: list[str]) -> bytes:
    """Return a table with one more column than its target."""
    return "\n".join([f"{name},y", *(f"{c},{row % 2}" for row, c in enumerate(cells))]).encode()


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"

TABLES: dict[str, Broken] = {
    "empty file": Broken(b"", "is empty"),
    "blank lines alone": Broken(b"\n\r\n  \n", "is empty"),
    "a header alone": Broken(b"x,z,c,y\n", "a header and no rows", also="'x', 'z', 'c', 'y'"),
    "a row too short": Broken(
        table((3, "1,2,a")), "row 4 (line 5) has 3 cells", also="names 4 columns, parted by ','"
    ),
    "a row too long": Broken(table((0, "1,2,a,1,1")), "row 1 (line 2) has 5 cells"),
    "a ragged last row": Broken(table((19, "1")), "row 20 (line 21) has 1 cells"),
    "no header": Broken(b"1,2,3\n4,5,6\n", "no header", also="first row holds numbers"),
    "two columns of one name": Broken(table(header="x,x,c,y"), "the same name: 'x'"),
    "a column without a name": Broken(table(header=",z,c,y"), "column 1 has no name"),
    "target missing": Broken(
        table(), "no column 'Y1', which data.target", ("data.target=Y1",), also="'x', 'z'"
    ),
    "target misspelt": Broken(
        b"age,price\n1,2\n",
        "no column 'prise'",
        ("data.target=prise",),
        also="did you mean 'price'",
    ),
    "another separator": Broken(table(), "no column 'y'", ("data.delimiter=;",), also="'x,z,c,y'"),
    "an unknown column is used": Broken(
        table(), "no column 'w', which data.columns", ("data.columns=[x,w]",)
    ),
    "an unknown column is categorical": Broken(
        table(), "no column 'w', which data.categorical", ("data.categorical=[w]",)
    ),
    "nothing besides the target": Broken(b"y\n0\n1\n", "no column besides the target"),
    "text in a numeric column": Broken(
        table((4, "five,2,a,0")),
        "'five' in column 'x' is no number",
        also="row 5 (line 6)",
    ),
    "a number with an underscore": Broken(table((4, "1_0,2,a,0")), "'1_0' in column 'x'"),
    "an infinite number": Broken(table((2, "inf,2,a,0")), "'inf' in column 'x' is not finite"),
    "minus infinity": Broken(table((2, "-Infinity,2,a,0")), "'-Infinity' in column 'x'"),
    "a number beyond float32": Broken(table((2, "1,1e39,a,0")), "'1e39' in column 'z'"),
    "a number beyond float64": Broken(table((2, "1,1e999,a,0")), "'1e999' in column 'z'"),
    "a decimal comma": Broken(b"a;y\n1,5;0\n2,5;1\n", "'1,5' in column 'a' has a decimal comma"),
    "a missing cell is forbidden": Broken(
        table((6, "1,?,a,0")), "a missing cell in column 'z'", ("data.missing=error",), also="row 7"
    ),
    "a missing target": Broken(
        table((6, "1,2,a,")), "a missing cell in column 'y'", also="data.missing: drop"
    ),
    "a target of NaN": Broken(table((6, "1,2,a,NaN")), "a missing cell in column 'y'"),
    "every row misses a cell": Broken(
        column("x", [""] * 4 + ["NA"] * 4), "every row misses a cell", ("data.missing=drop",)
    ),
    "an empty column": Broken(column("x", ["?"] * 8), "column 'x' is empty in every row"),
    "one class alone": Broken(
        b"x,y\n1,cat\n2,cat\n3,cat\n", "holds one value only", also="every row is 'cat'"
    ),
    "one number alone": Broken(
        b"x,y\n1,2.5\n2,2.5\n3,2.5\n", "holds one value only", also="nothing to learn"
    ),
    "float labels": Broken(
        b"x,y\n1,0\n2,0.5\n3,1\n",
        "'0.5' in the target column 'y' is no class",
        ("data.task=classification",),
        also="data.task: regression",
    ),
    "an infinite label": Broken(
        b"x,y\n1,0\n2,inf\n3,1\n", "'inf' in the target column", ("data.task=classification",)
    ),
    "text as a quantity": Broken(
        b"x,y\n1,0\n2,tall\n3,1\n", "'tall' in column 'y' is no number", ("data.task=regression",)
    ),
    "thousands of classes": Broken(
        b"x,y\n" + b"".join(b"%d,name%d\n" % (n, n) for n in range(1_001)), "holds 1,001 classes"
    ),
    "names in place of categories": Broken(
        column("who", [f"person {n}" for n in range(25)]), "'who' holds 25 different texts"
    ),
    "thousands of categories": Broken(
        column("who", [f"person {n // 2}" for n in range(2_010)]), "'who' holds 1,005 different"
    ),
    "more columns than are read": Broken(
        ",".join(f"c{n}" for n in range(10_001)).encode() + b"\n", "10,001 columns"
    ),
    "a cell without an end": Broken(
        b"x,y\n1,0\n2," + b"z" * 200_000 + b"\n", "field larger than field limit"
    ),
    "a line without an end": Broken(b"x,y\n" + b"z" * 5_000_000, "line 2 is longer than 4,194,304"),
    "a quotation mark that is never closed": Broken(b'x,y\n"1,0\n2,1\n', "unexpected end of data"),
    "text behind a quotation mark": Broken(b'x,y\n"1"2,0\n', "line 2: ',' expected after '\"'"),
    "lines that end in CR alone": Broken(table(end="\r"), "line 1: new-line character"),
    "NUL in a cell": Broken(table((1, "1,\0,a,0")), "no text", also="line 3, is NUL"),
    "Latin-1": Broken("x,y\n1,caf\xe9\n".encode("latin-1"), "not UTF-8 text", also="is 0xe9"),
    "UTF-16": Broken("x,y\n1,0\n".encode("utf-16"), "no text", also="in UTF-8"),
    "a PNG": Broken(PNG, "not UTF-8 text", also="byte 0, in line 1, is 0x89"),
    "a zip file": Broken(b"PK\3\4\x14\0\0\0", "no text", also="byte 5, in line 1, is NUL"),
    "a test table without the target": Broken(
        table(),
        "no column 'y'",
        ("data.test_path=other.csv",),
        files={"other.csv": b"x,z,c\n1,2,a\n"},
    ),
    "a test table with another class": Broken(
        table(),
        "class '7' is not in the training table",
        ("data.test_path=other.csv",),
        files={"other.csv": b"x,z,c,y\n1,2,a,7\n"},
    ),
    "a test table with text for a number": Broken(
        table(),
        "'k' in column 'x' is no number",
        ("data.test_path=other.csv",),
        files={"other.csv": b"x,z,c,y\nk,2,a,1\n"},
    ),
    "a test table that is not there": Broken(table(), "not found", ("data.test_path=other.csv",)),
    "the target as an input": Broken(
        table(), "data.columns names the target 'y'", ("data.columns=[x,y]",), code=2
    ),
    "a categorical column that is not used": Broken(
        table(),
        "data.categorical names columns that are not used: 'c'",
        ("data.columns=[x]", "data.categorical=[c]"),
        code=2,
    ),
    "scaled classes": Broken(
        table(), "data.scale_target is for regression", ("data.scale_target=true",), code=2
    ),
    "two test splits": Broken(
        table(), "both name the test rows", ("data.test_path=a.csv", "data.test_fraction=0.1"), 2
    ),
    "an unknown separator": Broken(table(), "data.delimiter", ("data.delimiter=x",), code=2),
}


def npz(**arrays: Any) -> bytes:
    """Return a file of numpy's own making."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def sound(**changes: Any) -> bytes:
    """Return a sound file in which some arrays are others, or left out."""
    arrays = {
        "inputs": np.arange(120.0).reshape(10, 4, 3),
        "targets": np.arange(10) % 2,
        **changes,
    }
    return npz(**{name: array for name, array in arrays.items() if array is not None})


def flat(**changes: Any) -> bytes:
    """Return a sound file of flat values."""
    arrays = {"values": np.arange(24.0).reshape(12, 2), "lengths": np.array([3, 4, 5])}
    return npz(**{**arrays, "targets": np.array([0, 1, 0]), **changes})


def npy(shape: tuple[int, ...], body: bytes, descr: str = "'<f8'") -> bytes:
    """Return an array whose header may say anything."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + body


def zipped(member: bytes, name: str = "inputs.npy", method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip with one array, and sound targets."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, member)
        archive.writestr("targets.npy", npy((3,), np.array([0, 1, 0]).tobytes(), "'<i8'"))
    return file.getvalue()


def with_hole(value: float) -> np.ndarray:
    inputs = np.ones((10, 4, 3))
    inputs[7, 2, 1] = value
    return inputs


def pad_zeros(megabytes: int) -> bytes:
    """Return a deflated bomb: zeros behind a header that tells the truth."""
    body = bytes(megabytes * 2**20)
    return zipped(npy((3, 1, len(body) // 24), body), method=zipfile.ZIP_DEFLATED)


def patched(content: bytes, change: Callable[[bytearray, int], None]) -> bytes:
    """Return a zip whose directory's first entry was changed."""
    data = bytearray(content)
    change(data, data.index(b"PK\1\2"))
    return bytes(data)


def declare(size: int) -> Callable[[bytearray, int], None]:
    """Make the directory say that the first array unpacks to `size` bytes."""
    return lambda data, at: struct.pack_into("<II", data, at + 20, size, size)


def encrypt(data: bytearray, at: int) -> None:
    data[at + 8] |= 1
    data[6] |= 1


SOUND = zipped(npy((3, 2, 2), bytes(96)))

SEQUENCES: dict[str, Broken] = {
    "empty file": Broken(b"", "damaged, or no .npz file"),
    "a text file": Broken(b"1,2,3\n" * 50, "damaged, or no .npz file"),
    "a bare .npy": Broken(npy((3,), bytes(24)), "damaged, or no .npz file"),
    "half a file": Broken(sound()[:700], "damaged, or no .npz file"),
    "a flipped byte": Broken(SOUND.replace(bytes(96), bytes(95) + b"\1"), "Bad CRC-32"),
    "no targets": Broken(sound(targets=None), "no array 'targets'", also="its arrays: inputs"),
    "targets misspelt": Broken(
        sound(targets=None, target=np.zeros(10)), "no array 'targets'", also="where 'target' stands"
    ),
    "no inputs": Broken(npz(targets=np.arange(3)), "no array 'inputs'"),
    "inputs and values": Broken(sound(values=np.zeros((9, 2))), "both there"),
    "values without lengths": Broken(
        npz(values=np.zeros((9, 2)), targets=np.arange(3)), "values without an array 'lengths'"
    ),
    "Python objects": Broken(
        sound(inputs=np.array([[1], [1, 2]], object)), "holds Python objects", also="run code"
    ),
    "text": Broken(sound(inputs=np.array([["a", "b"]] * 10)), "holds <U1"),
    "complex numbers": Broken(sound(inputs=np.ones((10, 4), complex)), "holds complex128"),
    "dates": Broken(sound(inputs=np.zeros((10, 4), "M8[s]")), "holds datetime64"),
    "records": Broken(sound(inputs=np.zeros((10, 4), "i4,f4")), "array 'inputs' holds"),
    "NaN": Broken(
        sound(inputs=with_hole(np.nan)), "inputs hold nan at step 30, feature 1", also="1 numbers"
    ),
    "infinity": Broken(sound(inputs=with_hole(np.inf)), "inputs hold inf at step 30"),
    "beyond float32": Broken(sound(inputs=with_hole(1e39)), "inputs hold 1e+39"),
    "one axis": Broken(sound(inputs=np.ones(10)), "inputs [10] of float64, expected [N, steps"),
    "four axes": Broken(sound(inputs=np.ones((10, 2, 2, 2))), "inputs [10, 2, 2, 2] of float64"),
    "no sequence": Broken(sound(inputs=np.ones((0, 4, 3))), "hold nothing"),
    "no feature": Broken(sound(inputs=np.ones((10, 4, 0))), "hold nothing"),
    "fewer targets": Broken(sound(targets=np.arange(9)), "do not fit 10 sequences"),
    "a negative class": Broken(sound(targets=np.arange(10) - 3), "targets[0] is -3"),
    "an absurd class": Broken(sound(targets=np.arange(10) * 10**12), "targets[1] is 1000000000000"),
    "one class": Broken(sound(targets=np.zeros(10, int)), "one class only"),
    "ints of another width": Broken(sound(targets=np.ones((10, 3), int)), "do not fit"),
    "a NaN target": Broken(sound(targets=np.full(10, np.nan)), "targets hold nan"),
    "another task": Broken(
        sound(), "for classification, data.task says", ("data.task=regression",)
    ),
    "lengths too many": Broken(sound(lengths=np.ones(11, int)), "11 lengths for 10 inputs"),
    "a length of 0": Broken(sound(lengths=np.arange(10) % 4), "lengths[0] is 0"),
    "a length beyond the steps": Broken(sound(lengths=np.arange(10) % 4 + 2), "lengths[3] is 5"),
    "fractions for lengths": Broken(sound(lengths=np.ones(10)), "lengths [10] of float64"),
    "lengths that do not add up": Broken(
        flat(lengths=np.array([3, 4, 6])), "lengths add up to 13, values has 12 steps"
    ),
    "a negative length": Broken(flat(lengths=np.array([-3, 10, 5])), "lengths[0] is -3"),
    "a padding bomb": Broken(
        npz(
            values=np.zeros(200_000, "i1"),
            lengths=np.array([1] * 100_000 + [100_000]),
            targets=np.arange(100_001) % 2,
        ),
        "padded to the longest",
        also="100,000 steps in the longest",
    ),
    "a header that declares more": Broken(
        zipped(npy((3, 2**20, 2**20), bytes(96))), "declares [3, 1048576, 1048576]", also="holds 96"
    ),
    "a header that declares less": Broken(
        zipped(npy((3, 2), bytes(96))), "declares [3, 2] float64"
    ),
    "a negative size": Broken(zipped(npy((-3, 2, 2), bytes(96))), "array 'inputs'"),
    "a header that is code": Broken(
        zipped(npy((3,), bytes(24), "__import__('os').abort()")), "no sound header"
    ),
    "a header without an end": Broken(
        zipped(b"\x93NUMPY\1\0\xff\xff{'descr'"), "'inputs' has no sound header"
    ),
    "an unknown version": Broken(zipped(b"\x93NUMPY\7\0" + bytes(50)), "no sound header"),
    "no magic": Broken(zipped(b"hello" * 20), "'inputs' has no sound header"),
    "a directory that declares gigabytes": Broken(
        patched(SOUND, declare(0xF0000000)), "larger than itself"
    ),
    "a deflated bomb": Broken(pad_zeros(80), "no data packs that well"),
    "a password": Broken(patched(SOUND, encrypt), "cannot be unpacked", also="password"),
    "another packing": Broken(
        zipped(npy((3, 2, 2), bytes(96)), method=zipfile.ZIP_BZIP2), "numpy does not use"
    ),
    "a test file with more features": Broken(
        sound(),
        "4 features, the training file has 3",
        ("data.test_path=other.npz",),
        files={"other.npz": sound(inputs=np.ones((10, 4, 4)))},
    ),
    "a test file with more classes": Broken(
        sound(),
        "10 classes, the training file has 2",
        ("data.test_path=other.npz",),
        files={"other.npz": sound(targets=np.arange(10))},
    ),
    "a test file of another length": Broken(
        sound(),
        "sequences of 5",
        ("data.test_path=other.npz",),
        files={"other.npz": sound(inputs=np.ones((10, 5, 3)))},
    ),
    "sequences of many lengths for an mlp": Broken(flat(), "an mlp cannot solve", code=2),
}
