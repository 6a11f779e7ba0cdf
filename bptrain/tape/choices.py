"""The names by which a config chooses how its step runs."""

from typing import Literal

Checkpointing = Literal["none", "blocks", "sqrt"]
RuleName = Literal[
    "feedback_alignment", "direct_feedback_alignment", "sign_symmetry", "forward_gradient"
]
