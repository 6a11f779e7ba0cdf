"""Build the layers of a config's list, each for the output shape of the one before it.

Each layer is built on the meta device too, where a forward pass costs nothing. Its output shape
gives the sizes that the config omits, and an error names the key of a layer that does not fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bptrain import nn
from bptrain.errors import ConfigKeyError, shorten
from bptrain.models.layer_list import ConcatConfig, ResidualConfig, named_layer
from bptrain.models.layer_table import INFERRED, LAYERS, VOCABULARY, arguments_of, takes_device

SAMPLES = 2  # of the example batch: batch normalization has no variance with one
CONVOLUTIONS: dict[int, type[torch.nn.Module]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}  # by the number of axes after the channels

Key = tuple[str | int, ...]
Make = Callable[[torch.device | str], torch.nn.Module]


class Residual(torch.nn.Module):
    """branch(x) + x, or + projection(x)."""

    def __init__(self, branch: torch.nn.Module, projection: torch.nn.Module | None) -> None:
        super().__init__()
        self.branch, self.projection, self.add = branch, projection, nn.Add()

    def forward(self, input: Tensor) -> Tensor:
        """Return the sum."""
        skipped = input if self.projection is None else self.projection(input)
        output: Tensor = self.add(self.branch(input), skipped)
        return output


class Branches(torch.nn.Module):
    """The outputs of several branches on one input, concatenated along `dim`."""

    def __init__(self, branches: list[torch.nn.Module], dim: int) -> None:
        super().__init__()
        self.branches, self.concat = torch.nn.ModuleList(branches), nn.Concat(dim)

    def forward(self, input: Tensor) -> Tensor:
        """Return the concatenated outputs."""
        output: Tensor = self.concat(*(branch(input) for branch in self.branches))
        return output


@dataclass(frozen=True)
class Assembly:
    """Builds layers on a device, and runs an example batch through copies on meta.

    vocabulary  size of the inputs' vocabulary, 0 where they are not tokens
    """

    device: torch.device | str
    vocabulary: int

    def chain(self, layers: list[Any], x: Tensor, key: Key) -> tuple[torch.nn.Sequential, Tensor]:
        """Return the layers in sequence, and their output for x."""
        modules = torch.nn.Sequential()
        for number, layer in enumerate(layers):
            module, x = self.layer(layer, x, (*key, number))
            modules.append(module)
        return modules, x

    def layer(self, layer: Any, x: Tensor, key: Key) -> tuple[torch.nn.Module, Tensor]:
        """Return the module of one entry of a list, and its output for x."""
        if isinstance(layer, ResidualConfig):
            return self._residual(layer, x, key)
        if isinstance(layer, ConcatConfig):
            return self._concat(layer, x, key)
        name, given = named_layer(layer)
        options = self._completed(name, given, x)
        return self._fitted(name, partial(_made, name, options), (x,), key)

    def _completed(self, name: str, given: dict[str, Any], x: Tensor) -> dict[str, Any]:
        """Return the arguments, completed by those that are inferred from the input."""
        arguments = arguments_of(name)
        inferred = {key: x.shape[axis] for key, axis in INFERRED.items() if key in arguments}
        if VOCABULARY in arguments and self.vocabulary:
            inferred[VOCABULARY] = self.vocabulary
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
        return inferred | values

    def _residual(
        self, config: ResidualConfig, x: Tensor, key: Key
    ) -> tuple[torch.nn.Module, Tensor]:
        branch, output = self.chain(config.residual, x, (*key, "residual"))
        if output.shape == x.shape:
            return Residual(branch, None), output
        shapes = f"{shape_text(x.shape)}, and the branch {shape_text(output.shape)}"
        if not config.projection:
            raise ConfigKeyError(
                (*key, "residual"),
                f"the input is {shapes}: they cannot be added",
                hint="projection: true next to residual, or layers that keep the shape",
            )
        make = _projection(branch, x, output)
        at = (*key, "projection")
        projection, projected = self._fitted("the projection", make, (x,), at)
        if projected.shape != output.shape:
            raise ConfigKeyError(
                at,
                f"the projection returns {shape_text(projected.shape)} for {shapes}",
                hint="padding and strides in the branch that divide the size evenly",
            )
        return Residual(branch, projection), output

    def _concat(self, config: ConcatConfig, x: Tensor, key: Key) -> tuple[torch.nn.Module, Tensor]:
        chains = [
            self.chain(layers, x, (*key, "concat", number))
            for number, layers in enumerate(config.concat)
        ]
        outputs = tuple(output for _, output in chains)
        _, joined = self._fitted("concat", lambda _: nn.Concat(config.dim), outputs, key)
        return Branches([branch for branch, _ in chains], config.dim), joined

    def _fitted(
        self, name: str, make: Make, inputs: tuple[Tensor, ...], key: Key
    ) -> tuple[torch.nn.Module, Tensor]:
        """Return the module on the device, and the output of its copy on meta for the inputs."""
        shapes = " and ".join(shape_text(each.shape) for each in inputs)
        doing = "has invalid arguments"
        try:
            on_meta = make("meta")
            doing = f"does not fit an input {shapes}"
            with torch.no_grad():
                output = on_meta(*inputs)
        except Exception as error:  # torch raises many types for invalid arguments and inputs
            why = shorten(str(error)) or type(error).__name__
            raise ConfigKeyError(key, f"{name} {doing}", why) from error
        if not isinstance(output, Tensor):
            raise ConfigKeyError(key, f"{name} returns several tensors", "the next layer takes one")
        if 0 in output.shape:
            raise ConfigKeyError(key, f"{name} has an empty output for an input {shapes}")
        return make(self.device), output


def _made(name: str, options: dict[str, Any], device: torch.device | str) -> torch.nn.Module:
    return LAYERS[name](**options, **({"device": device} if takes_device(name) else {}))


def _projection(branch: torch.nn.Module, x: Tensor, output: Tensor) -> Make:
    """Return the constructor of a layer from x's shape to the branch's output shape.

    It is a convolution if the branch has one, else linear.
    """
    kinds = tuple(CONVOLUTIONS.values())
    convolves = any(isinstance(each, kinds) for each in branch.modules())
    if convolves and x.dim() == output.dim() and x.dim() - 2 in CONVOLUTIONS:
        sizes = zip(x.shape[2:], output.shape[2:], strict=True)
        strides = tuple(-(-before // after) for before, after in sizes)
        conv = CONVOLUTIONS[x.dim() - 2]
        return lambda device: conv(x.shape[1], output.shape[1], 1, strides, device=device)
    return lambda device: nn.Linear(x.shape[-1], output.shape[-1], device=device)


def shape_text(shape: Sequence[int]) -> str:
    """Return the shape of a batch as text such as [N, 16, 4, 4]."""
    return f"[{', '.join(['N', *map(str, shape[1:])])}]"
