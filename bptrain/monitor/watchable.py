"""Which models can be watched by hooks: others are refused, as their numbers would be wrong."""

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from bptrain.errors import UsageError

BEFORE_COMPILE = "watch the model that is not compiled, and train that one while you watch"


def watchable(model: nn.Module) -> nn.Module:
    """Return the model itself, without a wrapper for several devices; raises UsageError."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"watch: expected a torch.nn.Module, not {type(model).__name__}")
    if isinstance(model, DataParallel):
        raise UsageError(
            "watch: torch.nn.DataParallel runs copies of the model", hint="DistributedDataParallel"
        )
    if isinstance(model, DistributedDataParallel):
        model = model.module
    _refuse_modules(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise UsageError("watch: the model has no parameter that is trained")
    for name, parameter in model.named_parameters():
        _refuse_parameter(name, parameter)
    if len({each.device for each in trained}) > 1:
        raise UsageError("watch: the model's parameters are on several devices")
    return model


def _refuse_modules(model: nn.Module) -> None:
    for name, module in model.named_modules():
        part = f"{name} of the model" if name else "the model"
        if "OptimizedModule" in classes_of(module) or module._compiled_call_impl is not None:
            raise UsageError(
                f"watch: {part} is compiled", "compiled code calls no hooks", BEFORE_COMPILE
            )
        if "FullyShardedDataParallel" in classes_of(module):
            raise UsageError(f"watch: the weights of {part} lie on several devices, a part on each")
        if getattr(module, "sparse", False) is True and isinstance(
            module, nn.Embedding | nn.EmbeddingBag
        ):
            raise UsageError(f"watch: the gradient of {name} is sparse", hint="sparse=False")


def classes_of(value: object) -> set[str]:
    """Return the names of a value's classes: to import torch's own takes a second."""
    return {each.__name__ for each in type(value).__mro__}


def _refuse_parameter(name: str, parameter: nn.Parameter) -> None:
    if is_lazy(parameter):
        raise UsageError(f"watch: the shape of {name} is not known", hint="run a batch first")
    if "DTensor" in classes_of(parameter):
        raise UsageError(f"watch: {name} lies on several devices, a part on each")
    if parameter.is_complex():
        raise UsageError(f"watch: {name} is complex")


def fused_layers(model: nn.Module) -> list[str]:
    """Return notices on layers whose gradients over time hooks do not show."""
    return [
        f"{name}: torch.nn.{type(module).__name__} computes all time steps in one call, and hooks "
        "see no gradient at its states; after bptrain.convert(model) they do"
        for name, module in model.named_modules()
        if type(module) in (nn.RNN, nn.LSTM, nn.GRU)
    ]
