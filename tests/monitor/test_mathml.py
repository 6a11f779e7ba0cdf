"""The notation of the derivations becomes well-formed MathML, and says the same."""

import re
import string
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

import bptrain.ops
from bptrain.monitor.explanation.derivations import Derivation, read
from bptrain.monitor.explanation.mathml import GREEK, MINUS, PRIME, inline, line

OPS = Path(bptrain.ops.__file__).parent
WRITTEN = f"{string.ascii_letters}{string.digits}'=+-<>"
DERIVED = [path for path in sorted(OPS.glob("*.py")) if "\nBackward   " in path.read_text()]
# fast forms beside them refer to theirs
SHOWN = [path for path in DERIVED if re.search(r" = (operation|Cell)\(", path.read_text())]


def derivation(path: Path) -> Derivation:
    docstring = path.read_text().split('"""')[1]
    return read(docstring)


def text_of(markup: str) -> str:
    """Return the words and signs that are seen."""
    seen = "".join(ElementTree.fromstring(f"<p>{markup}</p>").itertext())
    return seen.replace(" ", "")


@pytest.mark.parametrize("path", DERIVED, ids=lambda path: path.stem)
def test_every_line_of_every_derivation_is_set_without_losing_a_letter(path: Path) -> None:
    found = derivation(path)
    formulas = [each for rule in found.backward for each in rule.formula]
    sentences = [found.title, *(rule.because for rule in found.backward)]
    set_lines = [" ".join(line(each)) for each in [*found.shapes, *found.forward, *formulas]]
    for source, markup in zip(
        [*found.shapes, *found.forward, *formulas, *sentences],
        [*set_lines, *map(inline, sentences)],
        strict=True,
    ):
        shown = Counter(text_of(markup))
        for name, sign in {"sum": "∑", **GREEK}.items():
            shown.update(name * shown[sign])
            del shown[sign]
        for signs, letters in (
            (MINUS, "-"),
            (PRIME, "'"),
            ("→", "->"),
            ("≤", "<="),
            ("≥", ">="),
            ("≠", "!="),
        ):
            shown.update(letters * shown[signs])
            del shown[signs]
        given = Counter(source.replace(" ", ""))
        assert all(shown[each] == given[each] for each in WRITTEN), source


def test_there_are_many() -> None:
    assert len(SHOWN) > 50


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.stem)
def test_every_derivation_has_its_parts(path: Path) -> None:
    found = derivation(path)
    assert found.title
    assert found.forward
    assert found.source
    assert found.backward
    assert any(rule.because for rule in found.backward)


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        (
            "x' = y' W",
            f"<math><msup><mi>x</mi><mrow><mo>{PRIME}</mo></mrow></msup><mo>=</mo>"
            f"<msup><mi>y</mi><mrow><mo>{PRIME}</mo></mrow></msup><mi>W</mi></math>",
        ),
        (
            "h_t-1",
            f"<math><msub><mi>h</mi><mrow><mi>t</mi><mo>{MINUS}</mo><mn>1</mn></mrow></msub></math>",
        ),
        (
            "dy/dx = 1",
            "<math><mfrac><mrow><mi>d</mi><mi>y</mi></mrow><mrow><mi>d</mi><mi>x</mi></mrow></mfrac>"
            "<mo>=</mo><mn>1</mn></math>",
        ),
        (
            "sum_n y_n",
            "<math><mrow><munder><mo>∑</mo><mrow><mi>n</mi></mrow></munder>"
            "<msub><mi>y</mi><mrow><mi>n</mi></mrow></msub></mrow></math>",
        ),
        (
            "(a + b) / 2",
            "<math><mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></mfrac></math>",
        ),
        ("the sum over the steps", "the sum over the steps"),
        ("NaN on a CPU", "NaN on a CPU"),
        ("with zero_infinity, see ops/conv.py", "with zero_infinity, see ops/conv.py"),
        (
            "A. Graves et al., 'mean' in `dim`",
            "A. Graves et al., &#39;mean&#39; in <code>dim</code>",
        ),
        ("(many, as x is)", "(many, as <math><mi>x</mi></math> is)"),
        ("2 (I + P)", None),
        ("0 <= h < H", None),
        ("<script>alert(1)</script>", None),
    ],
)
def test_a_formula_is_set_as_it_is_read(text: str, markup: str | None) -> None:
    found = str(inline(text))
    ElementTree.fromstring(f"<p>{found}</p>")  # well-formed
    assert "<script" not in found
    if markup is not None:
        assert found == markup
