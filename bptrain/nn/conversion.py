"""What of a model computes with bptrain.nn's layers, and what stays torch's."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Conversion:
    """The parts of a model, by name; its `str` is a text for people.

    ours  layers of bptrain.nn: their class
    left  layers that torch differentiates: their class, and why they stay what they are
    code  modules with a forward of their own: their class. The layers that they call are listed by
          themselves; any function (`x + y`, F.relu) is differentiated by torch
    """

    ours: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"layers of bptrain.nn: {_counted(self.ours)}"]
        if self.left:
            lines.append("layers that stay torch's:")
            lines += [f"  {name or 'the model'}  {why}" for name, why in self.left.items()]
        if self.code:
            lines.append(f"code that calls layers, or torch's functions: {_counted(self.code)}")
        return "\n".join(lines)


def _counted(kinds: dict[str, str]) -> str:
    """Return the classes and how many there are of each, as "2 Conv2d, 1 ReLU"."""
    counts = Counter(kinds.values()).most_common()
    return ", ".join(f"{count} {kind}" for kind, count in counts) or "none"
