"""Points in the plane that no straight line separates: the XOR problem and spirals."""

from math import pi
from typing import Literal

import torch
from pydantic import Field

from bptrain.data.generated.generated_config import GeneratedConfig
from bptrain.data.splits import Samples
from bptrain.problem import Problem

INNERMOST = 0.1  # radius where the spirals start: at 0 they would coincide


class XorConfig(GeneratedConfig):
    """The XOR problem: four clouds around (+-1, +-1); the class is 1 where the signs differ.

    One linear layer cannot solve it: Minsky and Papert, "Perceptrons", 1969.
    """

    kind: Literal["xor"] = "xor"
    samples: int = Field(
        default=1_000,
        ge=2,
        le=10_000_000,
        description="number of training and validation samples together",
    )
    noise: float = Field(
        default=0.2, ge=0, le=10, description="standard deviation of each cloud; 0 for four points"
    )
    task: Literal["classification", "regression"] = Field(
        default="classification",
        description="classification has an output for each of the two classes, regression a single "
        "one, whose target is 1 where the signs differ and 0 where they do not",
    )

    def problem(self) -> Problem:
        """Return the task and the shapes."""
        if self.task == "regression":
            return Problem("regression", (2,), 1, names=("different",))
        return Problem("classification", (2,), 2, names=("same", "different"))

    def draw(self, samples: int, generator: torch.Generator) -> Samples:
        """Return points [N, 2] and classes [N], or numbers [N, 1]."""
        bits = torch.randint(2, (samples, 2), generator=generator)
        noise = torch.randn(samples, 2, generator=generator)
        classes = bits[:, 0] ^ bits[:, 1]
        is_number = self.task == "regression"
        targets = classes.float().unsqueeze(1) if is_number else classes
        return Samples(bits * 2.0 - 1 + self.noise * noise, targets)


class SpiralsConfig(GeneratedConfig):
    """Interleaved spiral arms in the unit circle, one class each."""

    kind: Literal["spirals"] = "spirals"
    samples: int = Field(
        default=2_000,
        ge=2,
        le=10_000_000,
        description="number of training and validation samples together",
    )
    classes: int = Field(default=2, ge=2, le=20, description="number of arms")
    turns: float = Field(
        default=1.5, gt=0, le=10, description="turns of each arm around the center; more is harder"
    )
    noise: float = Field(
        default=0.02, ge=0, le=1, description="standard deviation of the noise on each point"
    )

    def problem(self) -> Problem:
        """Return the task and the shapes."""
        names = tuple(f"arm {number}" for number in range(1, self.classes + 1))
        return Problem("classification", (2,), self.classes, names=names)

    def draw(self, samples: int, generator: torch.Generator) -> Samples:
        """Return points [N, 2] and classes [N]."""
        arms = torch.randint(self.classes, (samples,), generator=generator)
        # the square root distributes points evenly along an arm, whose turns grow with the radius
        along = torch.rand(samples, generator=generator).sqrt()
        radius = INNERMOST + (1 - INNERMOST) * along
        angle = 2 * pi * (self.turns * along + arms / self.classes)
        points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
        noise = torch.randn(samples, 2, generator=generator)
        return Samples(points + self.noise * noise, arms)
