"""A verdict on a run: what is wrong, how that is known, and what to change."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a run.

    kind      such as vanishing
    step      at which it was known
    text      one sentence with the numbers
    reason    why the threshold is where it is
    evidence  the numbers, by name
    advice    changes of the config, each `key=value`, to be made together
    layer     where, None where it is no layer's
    """

    kind: str
    step: int
    text: str
    reason: str
    evidence: dict[str, float]
    advice: tuple[str, ...] = ()
    layer: str | None = None

    @property
    def lines(self) -> list[str]:
        """What is wrong, and what to change, in words."""
        told = [f"{self.kind.replace('_', ' ')}: {self.text}"]
        return [*told, f"  try: {self.proposal}"] if self.advice else told

    @property
    def proposal(self) -> str:
        """What to change, to be pasted."""
        return shlex.join(self.advice)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"advice": list(self.advice)}


@dataclass(frozen=True)
class Setup:
    """What a verdict knows of a run besides its log: the resolved config, as plain values."""

    config: Mapping[str, Any] = field(default_factory=dict)

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the config."""
        section: Mapping[str, Any] = self.config.get(name) or {}
        return section

    @property
    def family(self) -> str:
        """The kind of the model: mlp, cnn, rnn, transformer, pretrained or sequential."""
        return str(self.section("model").get("kind", ""))

    def key(self, path: str) -> Any:
        """Return the value at `section.key`, None where there is none."""
        section, _, name = path.partition(".")
        return self.section(section).get(name)
