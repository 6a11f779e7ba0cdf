"""Points of the plane that no straight line parts: the XOR problem and interleaved spirals."""

from math import pi
from typing import Literal

import torch
from pydantic import Field

from bptrain.data.generated.generated_config import GeneratedConfig
from bptrain.data.splits import Samples
from bptrain.problem import Problem

INNERMOST = 0.1  # radius where the spirals start: at 0 they would all be one point


class XorConfig(GeneratedConfig):
    """Four clouds around (+-1, +-1); the class is 1 where the two signs differ.

    The problem that one layer cannot solve: Minsky and Papert, "Perceptrons", 1969.
    """

    kind: Literal["xor"] = "xor"
    samples: int = Field(
        default=1_000, ge=2, le=10_000_000, description="of training and validation together"
    )
    noise: float = Field(default=0.2, ge=0, le=10, description="deviation of each cloud")

    def problem(self) -> Problem:
        """Return what each point asks."""
        return Problem("classification", (2,), 2, names=("same", "different"))

    def draw(self, samples: int, generator: torch.Generator) -> Samples:
        """Return points [N, 2] and classes [N]."""
        bits = torch.randint(2, (samples, 2), generator=generator)
        noise = torch.randn(samples, 2, generator=generator)
        return Samples(bits * 2.0 - 1 + self.noise * noise, bits[:, 0] ^ bits[:, 1])


class SpiralsConfig(GeneratedConfig):
    """Spiral arms within the unit circle, a class each."""

    kind: Literal["spirals"] = "spirals"
    samples: int = Field(
        default=2_000, ge=2, le=10_000_000, description="of training and validation together"
    )
    classes: int = Field(default=2, ge=2, le=20, description="arms")
    turns: float = Field(default=1.5, gt=0, le=10, description="of each arm around the centre")
    noise: float = Field(default=0.02, ge=0, le=1, description="deviation of each point")

    def problem(self) -> Problem:
        """Return what each point asks."""
        names = tuple(f"arm {number}" for number in range(1, self.classes + 1))
        return Problem("classification", (2,), self.classes, names=names)

    def draw(self, samples: int, generator: torch.Generator) -> Samples:
        """Return points [N, 2] and classes [N]."""
        arms = torch.randint(self.classes, (samples,), generator=generator)
        # the square root spreads points evenly along an arm, whose turns grow with the radius
        along = torch.rand(samples, generator=generator).sqrt()
        radius = INNERMOST + (1 - INNERMOST) * along
        angle = 2 * pi * (self.turns * along + arms / self.classes)
        points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
        noise = torch.randn(samples, 2, generator=generator)
        return Samples(points + self.noise * noise, arms)
