"""The learning rules by name."""

from typing import Protocol

from bptrain.tape.choices import RuleName
from bptrain.tape.learning_rules.direct_feedback_alignment import DirectFeedbackAlignment
from bptrain.tape.learning_rules.feedback_alignment import FeedbackAlignment
from bptrain.tape.learning_rules.forward_gradient import ForwardGradient
from bptrain.tape.learning_rules.sign_symmetry import SignSymmetry
from bptrain.tape.learning_rules.weights import Changed
from bptrain.tape.program import Program


class LearningRule(Protocol):
    """What the weights get in place of the gradient, as a change of a recorded program."""

    @property
    def name(self) -> str:
        """Its name in configs."""
        ...

    def changed(self, program: Program) -> Changed:
        """Return the program by the rule, or raise OffTapeError where it is not defined."""
        ...


def learning_rule(name: RuleName, seed: int) -> LearningRule:
    """Return the rule of a name; its fixed random matrices are functions of the seed."""
    match name:
        case "feedback_alignment":
            return FeedbackAlignment(seed)
        case "direct_feedback_alignment":
            return DirectFeedbackAlignment(seed)
        case "sign_symmetry":
            return SignSymmetry()
        case "forward_gradient":
            return ForwardGradient()
