"""JSON that is written in one form, and read in that form alone.

What was read is written again and compared. So nothing can change unseen, and whatever two readers
could understand differently is refused: a name written twice, NaN, a number that no double holds.
"""

import json
from typing import Any


def encode(value: object) -> bytes:
    """Return the value as JSON; raises ValueError for NaN or infinity, which JSON has not."""
    return json.dumps(value, indent=2, allow_nan=False).encode()


def decode(content: bytes) -> Any:
    """Return the value that `encode` made this content of; raises ValueError for any other."""
    try:
        value = json.loads(content.decode())
        if encode(value) != content:
            raise ValueError("not in the form that it was written in")
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value
