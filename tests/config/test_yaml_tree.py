"""The YAML reader takes plain data, refuses the rest with its line, and reads what it writes."""

import math
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bptrain.config.yaml_tree import (
    MAX_BYTES,
    Plain,
    Problem,
    dotted,
    read_text,
    read_tree,
    resolve,
    write,
    write_lines,
)
from bptrain.errors import UsageError

# Escapes can spell them, the reader refuses them: no config value holds a control character.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"))
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | TEXT
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def only_problem(text: str) -> Problem:
    problems = read_tree(text).problems
    assert len(problems) == 1
    return problems[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nULL", "nULL"),
        ("true", True), ("True", True), ("TRUE", True), ("tRUE", "tRUE"),
        ("false", False), ("False", False), ("FALSE", False),
        ("0", 0), ("-0", 0), ("+12", 12), ("-12", -12), ("007", 7), ("0o17", 15), ("0x1F", 31),
        ("-0x1F", "-0x1F"), ("0o18", "0o18"), ("0b1", "0b1"),
        ("1e-3", 1e-3), ("1E3", 1000.0), ("5.", 5.0), (".5", 0.5), ("-1.5e+2", -150.0),
        (".", "."), ("e3", "e3"), ("1e", "1e"), ("1.2.3", "1.2.3"),
        (".inf", math.inf), ("-.INF", -math.inf), ("inf", "inf"), ("nan", "nan"),
        ("no", "no"), ("on", "on"), ("yes", "yes"), ("off", "off"), ("y", "y"),
        ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("2024-01-02", "2024-01-02"), ("=", "="),
        ("\u0661", "\u0661"),  # an Arabic digit: int() would take it
    ],
)  # fmt: skip
def test_a_plain_scalar_means_what_the_yaml_1_2_core_schema_says(
    text: str, value: str | float | None
) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_float() -> None:
    assert math.isnan(float(str(resolve(".nan"))))


@pytest.mark.parametrize("text", ["'1'", '"true"', "'null'", '""', "|-\n 12"])
def test_a_quoted_or_block_scalar_is_text_whatever_it_spells(text: str) -> None:
    assert isinstance(read_tree(text).root, str)


@pytest.mark.parametrize("key", ["1", "null", "true", "1.5", "no"])
def test_a_key_is_its_text(key: str) -> None:
    assert read_tree(f"{key}: 3").root == {key: 3}


def test_each_key_path_has_the_line_of_its_key() -> None:
    tree = read_tree("# first\na: 1\nb:\n  c:\n    - x\n    - {d: 2}\n")
    assert tree.root == {"a": 1, "b": {"c": ["x", {"d": 2}]}}
    assert tree.lines == {
        (): 2, ("a",): 2, ("b",): 3, ("b", "c"): 4, ("b", "c", 0): 5, ("b", "c", 1): 6,
        ("b", "c", 1, "d"): 6,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "path", "line", "given"),
    [
        ("a: 1\nb: !!int 3", ("b",), 2, "the tag !!int"),
        ("a: !foo [1]", ("a",), 1, "the tag !foo"),
        ("a: ! 1", ("a",), 1, "the tag !"),
        ("!!map {a: 1}", (), 1, "the tag !!map"),
        ("!!str a: 1", ("a",), 1, "the tag !!str"),
        ('a: !!python/object/apply:os.system ["id"]', ("a",), 1, "os.system"),
        ("%TAG ! tag:x,2000:\n---\na: !foo 1", ("a",), 3, "the tag tag:x,2000:foo"),
        ("a:\n  - 1\n  - &x 2", ("a", 1), 3, "the anchor &x"),
        ("&x a: 1", ("a",), 1, "the anchor &x"),
        ("a: *x", ("a",), 1, "the alias *x"),
        ("a: 1\na: 2", ("a",), 2, "on line 1 already"),
        ("a: 1\n'a': 2", ("a",), 2, "on line 1 already"),
        ("a:\n- {b: {c: 1, c: 1}}", ("a", 0, "b", "c"), 2, "on line 2 already"),
        ("a: 1\n? [b]\n: 2", ("?",), 2, "a key that is no plain text"),
        ("? {b: 1}\n: 2", ("?",), 1, "a key that is no plain text"),
        ('a: "\\0"', ("a",), 1, "control characters"),
        ('a: "\\x1b[31m"', ("a",), 1, "control characters"),
        ('a: "\\ud800"', ("a",), 1, "control characters"),
        ('"a\\x07": 1', ("a\x07",), 1, "control characters"),
        ("a: " + "9" * 5000, ("a",), 1, "a number of 5000 characters"),
        ("a: 0x" + "f" * 400, ("a",), 1, "a number of 402 characters"),
        ("a: 1." + "0" * 399, ("a",), 1, "a number of 401 characters"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_line(
    text: str, path: tuple[str | int, ...], line: int, given: str
) -> None:
    problem = only_problem(text)
    assert (problem.path, problem.line) == (path, line)
    assert given in problem.given


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a: 1\nb: [1, 2", 2, "expected ',' or ']'"),
        ("a: 1\nb: 'x\n\n", 2, "unexpected end of stream"),
        ("a: [1,\nb: 2]\nc: }", 3, "but found '}'"),
        ("a: [1\nb: 2]", 2, "begun on line 1"),
        ("a: b: c", 1, "mapping values are not allowed here"),
        ("a:\n\tb: 1", 2, "cannot start any token"),
        ("a: 1\n b: 2", 2, "mapping values are not allowed here"),
        ("a: %x", 1, "cannot start any token"),
        ("a: 1\nb: \x00", 2, r"control character '\x00'"),
        ("a: 1\nb: \x1b", 2, r"control character '\x1b'"),
        ("a: \ud800", 1, "control character"),
        ('a: "\\UFFFFFFFF"', 1, "out of range"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1", 1, "out of range"),
    ],
)
def test_text_that_is_not_yaml_stops_the_reading_with_its_line(
    text: str, line: int, why: str
) -> None:
    tree = read_tree(text)
    assert (tree.whole, tree.root) == (False, None)
    assert (tree.problems[-1].line, tree.problems[-1].given) == (line, "text that is not YAML")
    assert why in tree.problems[-1].why


def test_of_a_duplicate_key_the_first_value_is_used() -> None:
    assert read_tree("a: 1\na: 2").root == {"a": 1}


def test_errors_before_a_syntax_error_are_reported_too() -> None:
    assert [problem.line for problem in read_tree("a: !x 1\nb: 2\nb: 3\nc: [").problems][:2] == [
        1,
        3,
    ]


def test_a_second_document_is_refused() -> None:
    problem = only_problem("a: 1\n---\nb: 2\n")
    assert (problem.line, problem.given) == (2, "a second document")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "--- # nothing\n...\n"])
def test_an_empty_document_is_none(text: str) -> None:
    assert read_tree(text).root is None
    assert read_tree(text).whole


def test_thirty_two_levels_are_read_and_the_next_is_refused() -> None:
    assert read_tree("[" * 32 + "]" * 32).problems == []
    assert only_problem("[" * 33 + "]" * 33).given == "more than 32 levels of nesting"
    assert only_problem("{a: " * 33 + "}" * 33).given == "more than 32 levels of nesting"


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{" * 100_000, "- " * 100_000, "? " * 100_000, BOMB]
)
def test_a_bomb_is_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    assert read_tree(text).problems
    assert time.perf_counter() - start < 3  # 0.5 s here; expanding BOMB would take years


@given(TREES)
@example({"a": 1e-05, "b": 1e22, "c": -0.0, "d": math.inf, "e": "1e-3"})
@example(
    ["no", "null", "~", "", " x ", "a: b", "a #b", "x:", "- x", "0o7", "!x", "&x", "*x", "---"]
)
@example(["a \u2028 b", "\ufeff", "\n", "é 😀", 'a"b\\c', "<<", "=", "...", "a\tb"])
def test_a_tree_written_on_one_line_reads_back_with_its_types(tree: Plain) -> None:
    text = write(tree)
    assert "\n" not in text
    assert repr(read_tree(text).root) == repr(tree)


@given(st.dictionaries(TEXT.filter(lambda key: len(key) < 1000), TREES, min_size=1, max_size=4))
def test_a_tree_written_in_lines_reads_back_with_its_types(tree: dict[str, Plain]) -> None:
    text = "\n".join(write_lines(tree, {(key,): f"about # {key}" for key in tree}))
    assert repr(read_tree(text).root) == repr(tree)


@given(st.text() | st.text(st.sampled_from("[]{},:-?*&!|>'\"%@`#~ \n\tab1.\\x0u")))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    tree = read_tree(text)
    assert tree.whole or tree.problems
    assert all(1 <= problem.line <= len(text) + 1 for problem in tree.problems)


def _is_utf8(content: bytes) -> bool:
    return content == content.decode("utf-8", "replace").encode()


@given(st.binary())
@example(b"\xff\xfea\x00:\x00")
def test_any_bytes_are_text_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "c.yaml"
    path.write_bytes(content)
    if _is_utf8(content):
        assert isinstance(read_text(path), str)
    else:
        with pytest.raises(UsageError, match="not UTF-8"):
            read_text(path)


def test_the_line_of_a_byte_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(UsageError, match=r"c\.yaml:2: not UTF-8"):
        read_text(path)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_text(path) == "a: 1"


def test_a_file_of_256_kib_is_read_and_a_byte_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"#" * MAX_BYTES)
    assert len(read_text(path)) == MAX_BYTES
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(UsageError, match="256 KiB"):
        read_text(path)


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(UsageError, match="256 KiB"):
        read_text("/dev/zero")


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b", "x" * 5000])
def test_a_file_that_cannot_be_opened_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read the config"):
        read_text(tmp_path / name)


def test_a_key_path_is_spelled_with_dots() -> None:
    assert dotted(("model", "hidden", 0)) == "model.hidden.0"
    assert dotted(("a b", "1", "")) == '"a b"."1".""'
