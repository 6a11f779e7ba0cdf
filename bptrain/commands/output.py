"""What commands print on: the terminal, or where stdout leads."""

from typing import Any

from rich.console import Console
from rich.text import Text

from bptrain.errors import printable


class Output(Console):
    """The terminal, or where stdout leads; texts are printed as they are, and made printable."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text, which may hold a name from a file, to be printed."""
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> None:
        """Pass on that the reader went away; Rich would exit with 1, which is a bug's code."""
        raise BrokenPipeError
