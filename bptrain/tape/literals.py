"""Plain values as Python text that evaluates to them again."""

import math
import sys
from enum import Enum
from functools import lru_cache
from typing import Any

import torch

OPERATIONS = "bptrain.ops."


Imports = set[tuple[str, str]]  # modules, and what is imported from each


def imported(module: str, name: str, imports: Imports) -> str:
    """Return how the text calls a module's function or class, and add it to the imports.

    Many operations' files have a `forward` and a class `Needs`: the file's name comes before.
    """
    imports.add((module, name))
    return f"{module.rpartition('.')[2]}_{name}"


def import_lines(imports: Imports) -> list[str]:
    """Return the imports of a text."""
    return [
        f"from {module} import {name} as {imported(module, name, imports)}"
        for module, name in sorted(imports)
    ]


def written(value: Any, imports: Imports) -> str:
    """Return a plain value as Python text, and add what it names to the imports.

    Raises ValueError for a value that has no such text.
    """
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        return str(value)
    if isinstance(value, torch.device):
        return f"torch.{value!r}" if not repr(value).startswith("torch") else repr(value)
    if name := _name_of(value):
        return imported(*name, imports)
    if isinstance(value, Enum):
        return _constructed(type(value), [repr(value.value)], imports)
    if isinstance(value, tuple | list):
        parts = [written(each, imports) for each in value]
        if hasattr(value, "_fields"):
            return _constructed(type(value), parts, imports)
        if isinstance(value, list):
            return f"[{', '.join(parts)}]"
        return _tuple(parts)
    raise ValueError(f"a {type(value).__name__} cannot be written as text")


def _tuple(parts: list[str]) -> str:
    if len(parts) > 4 and len(set(parts)) == 1:  # the sizes of many time steps
        return f"({parts[0]},) * {len(parts)}"
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


def _constructed(kind: type, parts: list[str], imports: Imports) -> str:
    name = imported(kind.__module__, kind.__qualname__, imports)
    return f"{name}({', '.join(parts)})"


def _name_of(value: Any) -> tuple[str, str] | None:
    """Return the module of an operation that has this value as a constant, and its name."""
    if not hasattr(value, "_fields"):
        return None
    found = _constants(len(sys.modules)).get(id(value))
    return found if found and getattr(sys.modules[found[0]], found[1], None) is value else None


@lru_cache(maxsize=1)
def _constants(_loaded: int) -> dict[int, tuple[str, str]]:
    """Return the operations' constants by id: each of a text's many values is looked up.

    _loaded  how many modules there are, as an operation's may be loaded later
    """
    found: dict[int, tuple[str, str]] = {}
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(OPERATIONS):
            for name, each in vars(module).items():
                if hasattr(each, "_fields"):
                    found.setdefault(id(each), (module_name, name))
    return found
