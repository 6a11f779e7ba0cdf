"""Broken tables: what they hold, and words of the error message."""

from dataclasses import dataclass, field

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
    """Return a valid table with some rows replaced."""
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
        table((3, "1,2,a")), "row 4 (line 5) has 3 cells", also="names 4 columns, separated by ','"
    ),
    "a row too long": Broken(table((0, "1,2,a,1,1")), "row 1 (line 2) has 5 cells"),
    "a ragged last row": Broken(table((19, "1")), "row 20 (line 21) has 1 cells"),
    "no header": Broken(b"1,2,3\n4,5,6\n", "no header", also="first row holds numbers"),
    "two columns of one name": Broken(table(header="x,x,c,y"), "the same name: 'x'"),
    "a column without a name": Broken(table(header="x,,c,y"), "column 2 has no name"),
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
        table((6, "1,2,a,")), "a missing cell in column 'y'", also="data.missing_target: drop"
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
    "text after a quotation mark": Broken(b'x,y\n"1"2,0\n', "line 2: ',' expected after '\"'"),
    "lines that end in CR alone": Broken(table(end="\r"), "line 1: a carriage return"),
    "NUL in a cell": Broken(table((1, "1,\0,a,0")), "no text", also="line 3, is NUL"),
    "Latin-1": Broken("x,y\n1,caf\xe9\n".encode("latin-1"), "not UTF-8 text", also="is 0xe9"),
    "UTF-16": Broken("x,y\n1,0\n".encode("utf-16"), "is UTF-16", also="data.encoding: utf-16"),
    "UTF-16 without its mark": Broken("x,y\n1,0\n".encode("utf-16-le"), "is UTF-16"),
    "a PNG": Broken(PNG, "is a PNG image", also="data.kind: image_folder"),
    "a zip file": Broken(b"PK\3\4\x14\0\0\0", "is a zip file", also="unpack it"),
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
