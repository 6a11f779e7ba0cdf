"""Canonical JSON: every value has exactly one valid encoding.

`decode` encodes the value again and compares. So every changed byte is found, and so is whatever
two parsers could read differently: a repeated name, NaN, a number outside the range of a double.
"""

import json
from typing import Any


def encode(value: object) -> bytes:
    """Return the value as JSON; raises ValueError for NaN and infinity."""
    return json.dumps(value, indent=2, allow_nan=False).encode()


def decode(content: bytes) -> Any:
    """Return the value that `encode` wrote; raises ValueError for any other content."""
    try:
        value = json.loads(content.decode())
        if encode(value) != content:
            raise ValueError("not the canonical encoding that bptrain writes")
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value
