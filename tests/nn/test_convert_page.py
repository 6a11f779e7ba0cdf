"""The code of docs/convert.md runs as it stands there, and prints what it says."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "convert.md"
BLOCK = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)


def test_the_code_of_the_page_runs_and_prints_what_it_says() -> None:
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    code = "".join(text for language, text in blocks if language == "python")
    said = "".join(text for language, text in blocks if language == "text")
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {})
    assert printed.getvalue() == said
    assert said
