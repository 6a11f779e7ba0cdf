"""The arguments of a call taken apart into named tensors and put together again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


@dataclass(frozen=True)
class Slot:
    """Where a tensor stood."""

    name: str


def take_apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return `value` with a Slot in place of each tensor, which goes into `tensors`."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return Slot(name)
    if isinstance(value, PackedSequence):
        tensors[name] = value.data
        return value._replace(data=Slot(name))  # type: ignore[arg-type]
    if isinstance(value, tuple | list):
        parts = [take_apart(part, f"{name}[{i}]", tensors) for i, part in enumerate(value)]
        return type(value)(parts)
    if isinstance(value, Mapping):
        return {key: take_apart(part, key, tensors) for key, part in value.items()}
    return value


def put_together(template: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `take_apart` took apart, with these tensors in its slots."""
    if isinstance(template, Slot):
        return tensors[template.name]
    if isinstance(template, PackedSequence):
        return template._replace(data=put_together(template.data, tensors))
    if isinstance(template, tuple | list):
        return type(template)([put_together(part, tensors) for part in template])
    if isinstance(template, Mapping):
        return {key: put_together(part, tensors) for key, part in template.items()}
    return template
