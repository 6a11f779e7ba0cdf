"""The notation of the derivations as MathML, which browsers set without a script or a font of ours.

The notation is that of the docstrings in `bptrain.ops`: y_no for indices, x' for a gradient, sum_i
for a sum, e^x, dy/dx for a derivative and spaces for products. What stands between formulas is
prose, and stays text.
"""

import re
from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

GREEK = {
    "sigma": "\N{GREEK SMALL LETTER SIGMA}",
    "delta": "δ",
    "beta": "β",
    "phi": "φ",
    "eps": "ε",
    "pi": "π",
}
ALWAYS_FUNCTIONS = {"log", "exp", "tanh", "cosh", "sinh", "sqrt", "erf"}
FUNCTIONS = ALWAYS_FUNCTIONS | {  # names of functions before a bracket, else words
    *("max", "min", "argmax", "floor", "ceil", "mean", "sign", "softmax", "sigmoid"),
}
SPACE = "<mspace width='0.17em'></mspace>"
MINUS, PRIME = "\N{MINUS SIGN}", "\N{PRIME}"
NAMED = {"ih", "hh", "hr"}  # indices of two letters that are one name
OPERATORS = {
    "-": MINUS,
    "<=": "≤",
    ">=": "≥",
    "!=": "≠",
    "->": "→",
    "*": "·",
    "+=": "+=",
    "//": "//",
}
TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<word>[A-Za-z]+)|(?P<operator><=|>=|!=|->|\+=|//|\S)"
)
TOKEN_OF_FACTOR = re.compile(r"[A-Za-z0-9(\[]")
SUBSCRIPT = re.compile(r"_(?:\{([^}]*)\}|(\([^)]*\))|([A-Za-z0-9]+(?:[+-]\d)?(?:,[a-z])?))")
PROSE = re.compile(r"[(\"]?[A-Za-z][A-Za-z-]*[a-z](?:'s|')?[)\"]?[.,;:]*$")
NAME = re.compile(
    r"""[(\["]*(?:
    (?!sum_)[a-z]{2,}\d*(?:_[a-z]{2,})*_[a-z]{3,}(?:_[a-z]{2,}|_\d)*  # zero_infinity, not sum_n
    | [a-z][\w/]*(?:\.\w+)+                  # torch.nn.Linear, ops/conv.py
    | [A-Z]?[a-z]+[A-Z][A-Za-z0-9]+|NaN         # ReLU, cuDNN
    | CPU|GPU|CUDA|LSTM|GRU|[SCG]?ELU|FFT|IEEE
    | [a-z]{3,}\d+d?                           # float32, conv2d
    | \d+-[a-z]+|[A-Z]{2,}-\d+|[A-Z]-[A-Z]{2,} # 16-bit, CIFAR-10, R-CNN
    | '[^']+'|"[^"]+"|`[^`]+`
    )(?:'s|s)?[)\]"]*[.,;:]*$""",
    re.VERBOSE,
)
INITIAL = re.compile(r"[A-Z]\.$")
OPERANDS_FOLLOW = {"/", "=", "+", "-", "*", "<=", ">="}
CODE = re.compile("`([^`]+)`")
ALIGNED = re.compile(r"\s{2,}(\+?=)\s")  # an equals sign below another one
CLOSING = {"(": ")", "[": "]", "{": "}"}


def inline(text: str) -> Markup:
    """Return a text with its formulas set, to stand in a line."""
    return Markup(" ").join(_pieces(text.split(), "<math>"))


def line(text: str) -> list[Markup]:
    """Return a line of a derivation, its columns set one by one, in their full size."""
    columns = re.split(r"\s{3,}", ALIGNED.sub(r" \1 ", text.strip()))
    start = "<math displaystyle='true'>"
    return [Markup(" ").join(_pieces(column.split(), start)) for column in columns if column]


def _pieces(words: Sequence[str], start: str) -> Iterator[Markup]:
    formula: list[str] = []
    depth = place = 0
    while place < len(words):
        word, *following = words[place : place + 2]
        is_operand = depth > 0 or (bool(formula) and formula[-1] in OPERANDS_FOLLOW)
        sentence = "" if is_operand else _sentence_in_brackets(words[place:])
        if sentence or (depth == 0 and _is_prose(word, *following, is_first=place == 0)):
            yield from _set(formula, start)
            formula = []
            yield _remark(sentence, start) if sentence else _text(word)
            place += max(1, len(sentence.split()))
            continue
        place += 1
        formula.append(word)
        depth = max(0, depth + sum(map(word.count, "([{")) - sum(map(word.count, ")]}")))
        if depth == 0 and word[-1] in ",;:." and word not in (",", "..."):
            yield from _set(formula, start)
            formula = []
    yield from _set(formula, start)


def _sentence_in_brackets(words: Sequence[str]) -> str:
    """Return the words up to the bracket that closes the first word's, if they are a sentence."""
    if not words[0].startswith("("):
        return ""
    depth = 0
    for count, word in enumerate(words, 1):
        depth += word.count("(") - word.count(")")
        if depth <= 0:
            inner = [each.strip("(),;:") for each in words[:count]]
            is_sentence = count > 1 and any(map(_is_word, inner))
            is_last = word.rstrip(".,;:").endswith(")")
            return " ".join(words[:count]) if is_sentence and is_last else ""
    return ""


def _remark(sentence: str, start: str) -> Markup:
    """Return a sentence in brackets, its formulas set."""
    inner, _, end = sentence[1:].rpartition(")")
    return Markup("({}){}").format(Markup(" ").join(_pieces(inner.split(), start)), end)


def _text(word: str) -> Markup:
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(word))))  # noqa: S704  escaped before


def _is_prose(word: str, following: str = "", *, is_first: bool) -> bool:
    if word == "a" or (word in ("A", "I") and is_first):
        is_noun = PROSE.match(following) or NAME.match(following)
        return bool(is_noun) and not following.startswith("(")
    if INITIAL.match(word) and PROSE.match(following):  # of an author
        return True
    if word.rstrip(".,;:") == "sum":  # "the sum over the steps" has no factors
        return not following or bool(PROSE.match(following))
    return word == "..." or _is_word(word)


def _is_word(word: str) -> bool:
    """Return whether a word is no part of a formula, wherever it stands."""
    bare = word.rstrip(".,;:")
    is_derivative = len(bare) == 2 and bare[0] == "d" and bare != "do"
    is_symbol = bare in ALWAYS_FUNCTIONS or bare in GREEK or bare == "sum" or is_derivative
    return not is_symbol and bool(PROSE.match(word) or NAME.match(word))


def _set(words: Sequence[str], start: str) -> Iterator[Markup]:
    if not words:
        return
    text = " ".join(words)
    end = text[-1] if text[-1] in ",;:." and not text.endswith("...") else ""
    inner = "".join(Parser(text.removesuffix(end)).items(""))
    yield Markup(f"{start}{inner}</math>{end}")  # noqa: S704  the parser escapes what it reads


class Parser:
    """A formula, read from left to right into elements of MathML."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def items(self, closing: str) -> list[str]:
        """Return the elements up to a closing bracket, or to the end."""
        found: list[str] = []
        while self._skip() and not (closing and self.text.startswith(closing, self.at)):
            if self.text[self.at] == "/" and found and not self.text.startswith("//", self.at):
                self.at += 1
                below = self._item() if self._skip() else ""
                found[-1] = f"<mfrac>{_bare(found[-1])}{_bare(below)}</mfrac>"
            else:
                found.append(self._item())
        self.at += len(closing)
        return found

    def _skip(self) -> bool:
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1
        return self.at < len(self.text)

    def _item(self) -> str:
        """Return the next element with its scripts."""
        token = TOKEN.match(self.text, self.at)
        assert token is not None, "a token is any character but a space"
        opening = token["operator"] or ""
        if opening in CLOSING and self._is_closed(opening):
            space = SPACE if opening == "[" and self.text[: self.at].endswith(" ") else ""
            self.at += 1
            inner = "".join(self.items(CLOSING[opening]))
            base = f"<mrow>{space}<mo>{opening}</mo>{inner}<mo>{CLOSING[opening]}</mo></mrow>"
        elif token["operator"]:
            self.at = token.end()
            name = OPERATORS.get(token[0], token[0])
            return f"<mo>{escape(name)}</mo>"
        elif token["number"]:
            self.at = token.end()
            base = f"<mn>{token[0]}</mn>"
        else:
            return self._word(token[0])
        return self._scripts(base)

    def _is_closed(self, opening: str) -> bool:
        """Return whether the bracket here has its partner; an interval [0, H) has none."""
        depth = 0
        for each in self.text[self.at :]:
            depth += (each == opening) - (each == CLOSING[opening])
            if depth == 0:
                return True
        return False

    def _word(self, word: str) -> str:
        """Return a variable, a function of what follows, a derivative or a word."""
        if word == "sum":
            self.at += 3
            return f"<mrow>{self._scripts('<mo>∑</mo>', is_sum=True)}{self._factors()}</mrow>"
        if word in GREEK:
            self.at += len(word)
            return self._scripts(f"<mi>{GREEK[word]}</mi>")
        if len(word) == 2 and word[0] == "d":
            self.at += 2
            return f"<mrow><mi>d</mi>{self._scripts(f'<mi>{word[1]}</mi>')}</mrow>"
        self.at += len(word)
        if len(word) == 1:
            return self._scripts(f"<mi>{word}</mi>")
        if word in FUNCTIONS:
            name = self._scripts(f"<mi>{word}</mi>")
            if not self._skip() or not TOKEN_OF_FACTOR.match(self.text, self.at):
                return name
            space = "" if self.text[self.at] == "(" else SPACE
            return f"<mrow>{name}{space}{self._item()}</mrow>"
        if word.islower() or self.text.startswith("(", self.at):
            return f"<mtext>{word}</mtext>"
        return "".join(f"<mi>{letter}</mi>" for letter in word)  # a product without spaces: NIO

    def _factors(self) -> str:
        """Return the product that a sum is taken over."""
        found = ""
        while self._skip() and TOKEN_OF_FACTOR.match(self.text, self.at):
            found += self._item()
        return found

    def _scripts(self, base: str, is_sum: bool = False) -> str:
        """Return an element with the primes, the index and the exponent that follow it."""
        primes, below, above = "", "", ""
        while self.at < len(self.text):
            if self.text[self.at] == "'":
                primes += PRIME
                self.at += 1
            elif not below and (index := SUBSCRIPT.match(self.text, self.at)):
                self.at = index.end()
                below = _index(index[1] or index[2] or index[3])
            elif not above and self.text[self.at] == "^":
                self.at += 1
                above = self._exponent()
            else:
                break
        above = f"<mo>{primes}</mo>{above}" if primes else above
        if is_sum and below:
            return f"<munder>{base}{below}</munder>"
        if below and above:
            return f"<msubsup>{base}{below}<mrow>{above}</mrow></msubsup>"
        if below:
            return f"<msub>{base}{below}</msub>"
        return f"<msup>{base}<mrow>{above}</mrow></msup>" if above else base

    def _exponent(self) -> str:
        sign = ""
        if self.text.startswith("-", self.at):
            self.at += 1
            sign = f"<mo>{MINUS}</mo>"
        if self.text.startswith("T", self.at):
            self.at += 1
            return "<mi mathvariant='normal'>T</mi>"
        return sign + _bare(self._item())


def _index(text: str) -> str:
    """Return an index: letters side by side, or a formula."""
    if text in NAMED:
        return f"<mi mathvariant='normal'>{text}</mi>"
    if text.isalpha() and len(text) > 1:
        return f"<mrow>{''.join(f'<mi>{letter}</mi>' for letter in text)}</mrow>"
    return f"<mrow>{''.join(Parser(text).items(''))}</mrow>"


def _bare(element: str) -> str:
    """Return an element without brackets around it, as they mean nothing in a fraction."""
    start, end = "<mrow><mo>(</mo>", "<mo>)</mo></mrow>"
    if element.startswith(start) and element.endswith(end):
        return f"<mrow>{element[len(start) : -len(end)]}</mrow>"
    return element
