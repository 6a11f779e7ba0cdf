"""The weights that a run begins with, where they are another training's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bptrain.data.images.images_config import BRIGHTEST
from bptrain.errors import CheckpointError, DataError, shorten
from bptrain.experiment.foreign_weights import load_matched, match, without_prefixes
from bptrain.experiment.plan import Plan
from bptrain.experiment.state_dict_file import read_foreign
from bptrain.models.pretrained import IMAGENET, NO_WEIGHTS, FineTuned, PretrainedConfig

INSIDE, SCALES = "network.", ("scale", "shift")  # names in the export of a run
Change = Callable[[nn.Module], None]


def starting_weights(plan: Plan) -> Change | None:
    """Return what gives a new model its weights; None if they are drawn."""
    config = plan.config.model
    if not isinstance(config, PretrainedConfig):
        return None
    prepared = plan.dataset.prepared

    def change(model: nn.Module) -> None:
        assert isinstance(model, FineTuned)
        if "mean" in prepared:
            model.expect(_listed(prepared["mean"]), _listed(prepared["std"]), BRIGHTEST)
        if config.weights != NO_WEIGHTS:
            load(model, config)

    return change


def load(model: FineTuned, config: PretrainedConfig) -> None:
    """Load the weights that the config names into all layers but the head.

    Raises DataError where they cannot be downloaded, CheckpointError for a file that does not fit.
    """
    if config.weights == IMAGENET:
        given = downloaded(config.preset)
    else:
        given = read_foreign(Path(config.weights))
    own = model.network.state_dict()
    given = network_in(without_prefixes(given, own), own)
    heads = [name for name in own if name.startswith(f"{model.head}.")]
    fitting = {
        name: each
        for name, each in given.items()
        if name not in heads or each.shape == own[name].shape
    }
    matched = match(fitting, model.network)
    missing = [name for name in matched.missing if name not in heads]
    if missing or matched.unexpected or matched.misshaped:
        raise CheckpointError(
            f"{config.weights}: not the weights of {config.preset}",
            "; ".join(matched.lines()),
            "model.preset by which the file was trained",
        )
    load_matched(model.network, matched)


def network_in(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's weights of a file, which may be the export of a run of such a model.

    Then two buffers that scale the inputs stand beside them; a run has its own.
    """
    inside = {n.removeprefix(INSIDE): each for n, each in given.items() if n.startswith(INSIDE)}
    is_export = len(inside) == len(given) - len(SCALES) and given.keys() >= set(SCALES)
    return inside if is_export and not any(n.startswith(INSIDE) for n in own) else given


def downloaded(preset: str) -> dict[str, Tensor]:
    """Return torchvision's weights, from its cache or its site; their checksum is compared."""
    from torchvision.models import get_model_weights

    try:
        weights: Any = get_model_weights(preset).DEFAULT
        found: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, no space, or another checksum
        raise DataError(
            f"the weights of {preset} cannot be downloaded",
            shorten(str(error)),
            "model.weights=FILE, such a file from another machine, or model.weights=none",
        ) from error
    return found


def _listed(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]
