"""Base class of RNN, LSTM and GRU: parameters, options, unbatched and packed input.

These modules own their parameters, because torch.compile refuses to trace subclasses of
torch.nn.RNN, LSTM and GRU. Everything else is torch's: names, arguments, parameters and their
order, first values from the same seed, repr, state_dict.
"""

import math
import warnings
from numbers import Number
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from bptrain.ops.reorder import reorder

Sequences = TypeVar("Sequences", Tensor, PackedSequence)
State = tuple[Tensor, ...]
Arguments = tuple[list[Tensor], bool, int, float, bool, bool, bool, Tensor | None]


class RNNBase(torch.nn.Module):
    """Layers of a recurrent network, in one direction or two."""

    gates: int  # number of gates in W_ih

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_options()
        self.dropout = float(dropout)
        self._all_weights = [
            self._add_parameters(layer, suffix, device, dtype)
            for layer in range(num_layers)
            for suffix in ("", "_reverse")[: 1 + bidirectional]
        ]
        self.reset_parameters()

    def _check_options(self) -> None:
        if (
            not isinstance(self.dropout, Number)
            or isinstance(self.dropout, bool)
            or not 0 <= self.dropout <= 1
        ):
            raise ValueError(f"dropout is {self.dropout!r}, expected a number from 0 to 1")
        for name in ("bias", "batch_first"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is {getattr(self, name)!r}, expected a bool")
        for name in ("input_size", "hidden_size"):
            if not isinstance(getattr(self, name), int):
                raise TypeError(f"{name} is {getattr(self, name)!r}, expected an int")
        for name in ("input_size", "hidden_size", "num_layers"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")
        if not 0 <= self.proj_size < self.hidden_size:
            raise ValueError(
                f"proj_size is {self.proj_size}, expected 0, for none, or less than "
                f"hidden_size {self.hidden_size}"
            )
        if self.dropout > 0 and self.num_layers == 1:
            warnings.warn(
                f"dropout={self.dropout} has no effect with num_layers=1: it acts between layers",
                stacklevel=4,
            )

    def _add_parameters(
        self, layer: int, suffix: str, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> list[str]:
        """Add the parameters of one layer in one direction and return their names."""
        rows = self.gates * self.hidden_size
        outputs = self.proj_size or self.hidden_size
        inputs = outputs * (1 + self.bidirectional) if layer else self.input_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, inputs)}
        shapes["weight_hh"] = (rows, outputs)
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (outputs, self.hidden_size)
        names = []
        for kind, shape in shapes.items():
            names.append(f"{kind}_l{layer}{suffix}")
            empty = torch.empty(shape, device=device, dtype=dtype)
            self.register_parameter(names[-1], torch.nn.Parameter(empty))
        return names

    def reset_parameters(self) -> None:
        """Draw every parameter again, uniform within 1 / sqrt(hidden_size) of 0."""
        limit = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -limit, limit)

    @property
    def all_weights(self) -> list[list[torch.nn.Parameter]]:
        """Return the parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Do nothing: torch's cuDNN needs contiguous parameters, the scan does not."""

    def extra_repr(self) -> str:
        """Return the options that differ from their defaults, as torch does."""
        options = [str(self.input_size), str(self.hidden_size)]
        defaults = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0,
            "bidirectional": False,
        }  # fmt: skip
        for name, default in defaults.items():
            if getattr(self, name) != default:
                options.append(f"{name}={getattr(self, name)}")
        return ", ".join(options)

    def _operation(
        self, input: Tensor, hx: State | None, batch_sizes: Tensor | None
    ) -> tuple[Tensor, State]:
        """Return the output and the last states; each module calls its own operation."""
        raise NotImplementedError

    def _arguments(self, batch_sizes: Tensor | None) -> Arguments:
        """Return what the operations take after the input and the states."""
        return (
            [parameter for group in self.all_weights for parameter in group],
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            self.batch_first and batch_sizes is None,
            batch_sizes,
        )

    def _sequences(self, input: Sequences, hx: State | None) -> tuple[Sequences, State]:
        """Return the output, of the type of the input, and the last states."""
        if isinstance(input, PackedSequence):
            data, batch_sizes, order, inverse = input
            if hx is not None:
                hx = tuple(reorder(each, order, inverse) for each in hx)
            output, last = self._operation(data, hx, batch_sizes)
            last = tuple(reorder(each, inverse, order) for each in last)
            return PackedSequence(output, batch_sizes, order, inverse), last
        if input.dim() not in (2, 3):
            raise ValueError(f"input has {input.dim()} axes, expected 3, or 2 if it is unbatched")
        if hx is not None and any(each.dim() != input.dim() for each in hx):
            raise ValueError(
                f"hx has {[each.dim() for each in hx]} axes, expected {input.dim()}, as the input"
            )
        if input.dim() == 3:
            return self._operation(input, hx, None)
        batch_axis = 0 if self.batch_first else 1
        if hx is not None:
            hx = tuple(each.unsqueeze(1) for each in hx)
        output, last = self._operation(input.unsqueeze(batch_axis), hx, None)
        return output.squeeze(batch_axis), tuple(each.squeeze(1) for each in last)
