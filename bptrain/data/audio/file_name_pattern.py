"""Patterns of file names: `{label}_{speaker}_{index}.wav`, or `{label}/{name}.wav` for folders.

A field in braces matches one or more characters but no slash. It ends at the first occurrence of
the text that follows it, so that matching never backtracks.
"""

import re
from collections.abc import Mapping
from itertools import pairwise

FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class NamePattern:
    """A pattern of fields and the texts around them; raises ValueError if it is ambiguous."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        parts = FIELD.split(pattern)
        self.fields, self.texts = parts[1::2], parts[::2]
        if any(brace in text for text in self.texts for brace in "{}"):
            raise ValueError("a field is a word in braces, such as {label}")
        repeated = {name for name in self.fields if self.fields.count(name) > 1}
        if repeated:
            raise ValueError(f"the field {{{min(repeated)}}} comes twice")
        for before, after in pairwise(self.fields):
            if not self.texts[self.fields.index(after)]:
                raise ValueError(f"nothing separates {{{before}}} and {{{after}}}")

    def read(self, name: str) -> Mapping[str, str] | None:
        """Return the fields of a name, or None if it does not match."""
        first, *behind = self.texts
        if not name.startswith(first) or not name.endswith(self.texts[-1]):
            return None
        rest, found = name[len(first) :], {}
        for number, (field, text) in enumerate(zip(self.fields, behind, strict=True), start=1):
            if number == len(self.fields):
                value, rest = rest.removesuffix(text), ""
            else:
                value, _, rest = rest.partition(text)
            if not value or "/" in value:
                return None
            found[field] = value
        return found
