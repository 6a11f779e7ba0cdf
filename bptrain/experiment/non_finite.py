"""Find NaN and infinities in a training step or a state, and end the run with NonFiniteError.

Most appear in a step's loss or gradients, which are recorded for every step. Others do not: those
in an optimizer's moments, in running statistics that only evaluation reads, in the embedding of a
token that does not occur again, in an average of the weights. A run resumed from such a state
would fail later, or silently train wrong: an infinite second moment stops a weight's updates for
ever. So the whole state is checked before it is saved.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

from torch import Tensor

from bptrain.experiment.build import Experiment
from bptrain.experiment.evaluation import CAUSES, refuse_non_finite
from bptrain.rundir.training_state import TrainingState
from bptrain.stateful import Tree
from bptrain.train.finite import not_finite
from bptrain.train.ranks import Ranks
from bptrain.train.update import Update

AVERAGE = "average/tensors/"  # as in `Session.state`
OPTIMIZER = "optimizer/"
LOGGED = ("window/", "monitor/")  # in fp16 the norms of a skipped step are no error


class Failure(NamedTuple):
    """A step that is not finite: what is seen of it, and what else is known."""

    step: int
    what: str
    why: str


def first_failure(
    update: Update, losses: Sequence[float], norms: Sequence[Sequence[float]], last_step: int
) -> Failure | None:
    """Return the first step whose loss or gradient is not finite.

    losses, norms  of consecutive steps up to `last_step`; the norms are those of a `Reading`

    In fp16 the gradient scaler skips a step whose gradients overflow. That is no error as long as
    the scale can still be halved.
    """
    causes = CAUSES
    first = last_step - len(losses) + 1
    for step, (loss, (total, *layers)) in enumerate(zip(losses, norms, strict=True), start=first):
        if not isfinite(loss):
            return Failure(step, f"the loss is {loss} at step {step}", causes)
        bad = [(n, norm) for n, norm in enumerate(layers) if not isfinite(norm)]
        if bad and not update.precision.scales:
            # gradients flow backward: the layer nearest to the loss had it first
            layer, norm = bad[-1]
            name = update.gradients.names[layer]
            return Failure(step, f"the gradient of {name} is {norm} at step {step}", causes)
        before = f"one step before, the loss was {loss:.4g} and the gradient norm {total:.4g}"
        causes = f"{before}; {CAUSES}"
    return None


def refuse_weights(experiment: Experiment, step: int) -> None:
    """Raise NonFiniteError if a weight or buffer, or an average of them, is not finite.

    Call it before an evaluation: an infinite running variance gives a loss that is finite but
    wrong, and a NaN gives one that does not show where it came from.
    """
    tensors = dict(experiment.model.state_dict())
    if experiment.update.average is not None:
        averages = experiment.update.average.tensors().items()
        tensors |= {AVERAGE + name: tensor for name, tensor in averages}
    _refuse(experiment, not_finite_of(experiment.ranks, tensors), step)


def refuse_state(experiment: Experiment, state: TrainingState) -> None:
    """Raise NonFiniteError if anything that a later step reads is not finite.

    Processes that share the weights each look at their parts; all of them have to look.
    """
    plain, tensors = state.rest()
    later = {path: each for path, each in tensors.items() if not path.startswith(LOGGED)}
    found = not_finite_of(experiment.ranks, {**state.model, **later})
    found += plain_not_finite(plain)
    _refuse(experiment, found, state.step)


def not_finite_of(ranks: Ranks, tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that are not finite, whichever process holds that part."""
    own = {name: ranks.part(each) for name, each in tensors.items()}
    return ranks.found_anywhere(not_finite(own))


def plain_not_finite(tree: Tree, path: str = "") -> Iterator[str]:
    """Yield the paths of the plain numbers in a tree that are not finite."""
    if isinstance(tree, dict):
        for name, each in tree.items():
            yield from plain_not_finite(each, f"{path}/{name}" if path else name)
    elif isinstance(tree, list):
        for number, each in enumerate(tree):
            yield from plain_not_finite(each, f"{path}/{number}")
    elif isinstance(tree, float) and not isfinite(tree):
        yield path


def _refuse(experiment: Experiment, found: list[str], step: int) -> None:
    if found:
        more = f", nor are {len(found) - 1} others," if found[1:] else ""
        refuse_non_finite(
            f"{_describe(experiment, found[0])} is not finite{more} after step {step}"
        )


def _describe(experiment: Experiment, path: str) -> str:
    """Describe a path of a state for an error message."""
    if path.startswith(AVERAGE):
        return f"the average of {path.removeprefix(AVERAGE)}"
    if not path.startswith(OPTIMIZER):
        return path
    number, _, entry = path.removeprefix(OPTIMIZER).partition("/")
    update = experiment.update
    if update.searches:  # its state treats all parameters as one vector
        return f"the optimizer's {entry}"
    parameters = [p for group in update.optimizer.param_groups for p in group["params"]]
    part = experiment.ranks.part
    names = {part(parameter): name for name, parameter in experiment.model.named_parameters()}
    return f"the optimizer's {entry} of {names[parameters[int(number)]]}"
