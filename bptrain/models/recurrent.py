"""Recurrent networks, by when they have an output: once, at each step, or as a language model."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from bptrain import nn
from bptrain.errors import CheckpointError
from bptrain.models.packing import Packing, max_over_time, mean_over_time
from bptrain.nn.recurrent import RNNBase
from bptrain.ops.cat import cat

Pool: TypeAlias = Literal["last", "mean", "max"]

STATES = ("h", "c")  # of an LSTM; other cells have h only


class RecurrentNetwork(torch.nn.Module):
    """An embedding or a linear layer at each step, recurrent layers, dropout and a linear output.

    Base class; the subclasses differ in when they have an output. Layers that a network does not
    have are None.
    """

    def __init__(
        self,
        first: nn.Embedding | nn.Linear | None,
        cell: str,
        layers: RNNBase,
        dropout: float,
        output: nn.Linear,
    ) -> None:
        super().__init__()
        self.cell = cell
        if first is not None:
            self.add_module("embedding" if isinstance(first, nn.Embedding) else "input", first)
        self.first_name = next(self.named_children(), ("", None))[0]
        self.add_module(cell, layers)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.output = output

    def embed(self, steps: Tensor) -> Tensor:
        """Return the recurrent layers' input for tokens [...] or features [..., I]."""
        embedded: Tensor = getattr(self, self.first_name)(steps) if self.first_name else steps
        return embedded

    def run_layers(self, embedded: Any, state: Any = None) -> tuple[Any, Any]:
        """Return the recurrent layers' output at each step, and the last state."""
        result: tuple[Any, Any] = getattr(self, self.cell)(embedded, state)
        return result

    def project(self, features: Tensor) -> Tensor:
        """Return the outputs [..., K] for features [..., D] of the recurrent layers."""
        dropped = features if self.dropout is None else self.dropout(features)
        output: Tensor = self.output(dropped)
        return output


class OutputOnce(RecurrentNetwork):
    """One output for a whole sequence, or an image read row by row.

    pool  last       the last state of each direction: the forward one is at the sequence's last
                     step, the reverse one at its first
          mean, max  of each feature, over all steps
    """

    pool: Pool = "last"

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return [B, K] for tokens [B, T], features [B, T, ...] or images [B, C, H, W]."""
        steps = as_steps(input, self.first_name == "embedding")
        if lengths is None:
            output, state = self.run_layers(self.embed(steps))
            return self.project(self.pooled(output, state, None))
        packing = Packing(lengths, steps.shape[1], steps.device)
        rows = self.embed(packing.pack(steps))
        output, state = self.run_layers(packing.as_sequence(rows))
        return self.project(self.pooled(output.data, state, packing))

    def pooled(self, output: Tensor, state: Any, packing: Packing | None) -> Tensor:
        """Return the features [B, D] of outputs [B, T, D], or of packed ones [R, D]."""
        if self.pool == "last":
            return self.last_of(state)
        if self.pool == "mean":
            padded = output if packing is None else packing.unpack(output)
            return mean_over_time(padded, None if packing is None else packing.valid)
        return max_over_time(output if packing is None else packing.unpack(output, -torch.inf))

    def last_of(self, state: Any) -> Tensor:
        """Return the last layer's h [B, D], both directions concatenated."""
        h: Tensor = state[0] if isinstance(state, tuple) else state  # [layers * directions, B, H]
        bidirectional = getattr(self, self.cell).bidirectional
        return cat([h[-2], h[-1]], 1) if bidirectional else h[-1]


class OutputEachStep(RecurrentNetwork):
    """An output at every step of a sequence; zeros where there is padding."""

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return [B, T, K] for tokens [B, T] or features [B, T, ...]."""
        steps = as_steps(input, self.first_name == "embedding")
        if lengths is None:
            return self.project(self.run_layers(self.embed(steps))[0])
        packing = Packing(lengths, steps.shape[1], steps.device)
        rows = self.embed(packing.pack(steps))
        output, _ = self.run_layers(packing.as_sequence(rows))
        return packing.unpack(self.project(output.data))


class LanguageModel(RecurrentNetwork):
    """Predicts the next token at every step of a text that is read a window at a time.

    The state is carried from window to window, detached. Training and evaluation each have their
    own state. It is not in the state_dict, because it belongs to a position in the text and not to
    the weights. A resumed run needs the training state: `carried_state` returns it, and `carry_on`
    restores it. Checkpointing looks for these two methods on any model.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.carried: dict[bool, Any] = {}  # by `self.training`

    def tie(self) -> None:
        """Share one weight between the embedding and the output layer: Press and Wolf 2017."""
        self.output.weight = self.get_parameter(f"{self.first_name}.weight")

    def carried_state(self) -> dict[str, Tensor]:
        """Return the training state by name; {} before the first window."""
        state = self.carried.get(True)
        if state is None:
            return {}
        return dict(zip(STATES, (state,) if isinstance(state, Tensor) else state, strict=False))

    def carry_on(self, tensors: dict[str, Tensor]) -> None:
        """Continue from a state that `carried_state` returned, on any device.

        Raises CheckpointError for a state of another model.
        """
        needed = STATES if self.cell == "lstm" else STATES[:1]
        if tensors and set(tensors) != set(needed):
            raise CheckpointError(
                f"the model's carried state holds {', '.join(sorted(tensors))}",
                f"{self.cell} carries {' and '.join(needed)}",
                "take a checkpoint of this model",
            )
        refuse_other_sizes(tensors, getattr(self, self.cell))
        self.carried.pop(True, None)
        if tensors:
            device = self.output.weight.device
            state = tuple(tensors[name].to(device) for name in needed)
            self.carried[True] = state if self.cell == "lstm" else state[0]

    def forward(self, tokens: Tensor, starts: bool = True) -> Tensor:
        """Return the logits [B, T, V] of the tokens that follow tokens [B, T].

        starts  whether a text begins here; else it continues the last call in the same mode
        """
        state = None if starts else self.carried.get(self.training)
        output, state = self.run_layers(self.embed(tokens), state)
        self.carried[self.training] = detached(state)
        return self.project(output)


def refuse_other_sizes(tensors: Mapping[str, Tensor], layers: RNNBase) -> None:
    """Raise CheckpointError for a carried state [layers, B, H] that does not fit the layers."""
    sizes = (layers.num_layers, layers.hidden_size)
    for name, each in tensors.items():
        fits = each.dim() == 3 and (each.shape[0], each.shape[2]) == sizes
        if not fits or each.dtype != layers.weight_hh_l0.dtype:
            raise CheckpointError(
                f"the model's carried {name} is {tuple(each.shape)} of {each.dtype}",
                f"it has {sizes[0]} layers of size {sizes[1]}",
                "take a checkpoint of this model",
            )


def as_steps(input: Tensor, are_tokens: bool) -> Tensor:
    """Return sequences as [B, T, I], images [B, C, H, W] as their H rows of C W features."""
    if are_tokens:
        return input
    if input.dim() == 2:
        return input.unsqueeze(2)
    if input.dim() == 4:
        return input.transpose(1, 2).flatten(2)
    return input


def detached(state: Any) -> Any:
    """Return a state detached from the autograd graph."""
    return state.detach() if isinstance(state, Tensor) else tuple(map(Tensor.detach, state))
