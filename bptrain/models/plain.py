"""The forward passes of our models in plain torch: what `export --code` copies into its file.

Only torch is imported here. Each class holds what its namesake in bptrain.models holds, so that a
model becomes a plain one when its class is set.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class MLP(nn.Sequential):
    """Layers in order, on inputs flattened to [N, I]; `add` is a skip connection around a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs [N, K] of input [N, ...]."""
        x = skipped = input.flatten(1)
        for name, layer in self.named_children():
            if name.startswith("linear"):
                skipped = x
            x = layer(x, skipped) if name.startswith("add") else layer(x)
        return x


class TimeLast(nn.Sequential):
    """Layers in order, on sequences [N, T, F] that are handed to them as [N, F, T]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the last layer's output."""
        x = input.transpose(1, 2)
        for layer in self:
            x = layer(x)
        return x


class Add(nn.Module):
    """x + y."""

    def forward(self, input: Tensor, other: Tensor) -> Tensor:
        """Return the sum."""
        return input + other


class Block(nn.Module):
    """relu(branch(x) + shortcut(x)), the branch's layers under their own names."""

    def __init__(
        self, branch: dict[str, nn.Module], downsample: nn.Module | None, relu: nn.Module
    ) -> None:
        super().__init__()
        self.branch = tuple(branch)
        for name, layer in branch.items():
            self.add_module(name, layer)
        self.downsample = downsample
        self.relu = relu

    def forward(self, input: Tensor) -> Tensor:
        """Return the output of input [N, C, ...]."""
        x = input
        for name in self.branch:
            x = getattr(self, name)(x)
        output: Tensor = self.relu(
            x + (input if self.downsample is None else self.downsample(input))
        )
        return output


class Residual(nn.Module):
    """branch(x) + x, or + projection(x)."""

    def __init__(self, branch: nn.Module, projection: nn.Module | None) -> None:
        super().__init__()
        self.branch, self.projection = branch, projection

    def forward(self, input: Tensor) -> Tensor:
        """Return the sum."""
        skipped = input if self.projection is None else self.projection(input)
        output: Tensor = self.branch(input) + skipped
        return output


class Branches(nn.Module):
    """The outputs of several branches on one input, concatenated along `dim`."""

    def __init__(self, branches: list[nn.Module], dim: int) -> None:
        super().__init__()
        self.branches, self.dim = nn.ModuleList(branches), dim

    def forward(self, input: Tensor) -> Tensor:
        """Return the concatenated outputs."""
        return torch.cat([branch(input) for branch in self.branches], self.dim)


class RecurrentNetwork(nn.Module):
    """An embedding or a linear layer at each step, recurrent layers, dropout, a linear output."""

    embedding: nn.Embedding
    input: nn.Linear
    output: nn.Linear
    dropout: nn.Module | None

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        self.dropout = layers.get("dropout")
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.cell = next(name for name in layers if name in ("rnn", "lstm", "gru"))

    def embed(self, steps: Tensor) -> Tensor:
        """Return the recurrent layers' input [B, T, I] for tokens, sequences or rows of images."""
        x = steps
        if hasattr(self, "embedding"):
            x = self.embedding(steps)
        elif steps.dim() == 2:
            x = steps.unsqueeze(2)
        elif steps.dim() == 4:
            x = steps.transpose(1, 2).flatten(2)
        embedded: Tensor = self.input(x) if hasattr(self, "input") else x
        return embedded

    def run_layers(self, embedded: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the recurrent layers' output [B, T, D], zeros where there is padding."""
        layers, steps = getattr(self, self.cell), embedded.shape[1]
        if lengths is None:
            output: Tensor = layers(embedded)[0]
            return output
        packed = pack_padded_sequence(embedded, lengths.cpu(), True, enforce_sorted=False)
        return pad_packed_sequence(layers(packed)[0], True, total_length=steps)[0]

    def project(self, features: Tensor) -> Tensor:
        """Return the outputs [..., K] of features [..., D]."""
        output: Tensor = self.output(features if self.dropout is None else self.dropout(features))
        return output

    def valid(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return a mask [B, T, 1], true for steps that are not padding."""
        steps = torch.arange(features.shape[1], device=features.device)
        return (steps < lengths.to(features.device)[:, None])[:, :, None]


class OutputOnce(RecurrentNetwork):
    """One output for a whole sequence: of the last state, or of the mean or max over time."""

    def __init__(self, layers: dict[str, nn.Module], pool: str) -> None:
        super().__init__(layers)
        self.pool = pool

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return [B, K] of sequences of `lengths` [B] steps, padded at their end."""
        features = self.run_layers(self.embed(input), lengths)
        return self.project(self.pooled(features, lengths))

    def pooled(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Return [B, D] of [B, T, D]."""
        if lengths is None:
            lengths = torch.full_like(features[:, 0, 0], features.shape[1], dtype=torch.int64)
        lengths = lengths.to(features.device)
        valid = self.valid(features, lengths)
        if self.pool == "mean":
            return torch.where(valid, features, 0.0).sum(1) / lengths[:, None]
        if self.pool == "max":
            return torch.where(valid, features, -torch.inf).amax(1)
        last = lengths[:, None, None].expand(-1, 1, features.shape[2]) - 1
        forward = features.gather(1, last)[:, 0]
        layers = getattr(self, self.cell)
        if not layers.bidirectional:
            return forward
        size = layers.hidden_size  # the reverse direction ends at the first step
        return torch.cat([forward[:, :size], features[:, 0, size:]], 1)


class OutputEachStep(RecurrentNetwork):
    """An output at every step of a sequence; zeros where there is padding."""

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return [B, T, K] of sequences of `lengths` [B] steps, padded at their end."""
        output = self.project(self.run_layers(self.embed(input), lengths))
        return output if lengths is None else torch.where(self.valid(output, lengths), output, 0.0)


class LanguageModel(RecurrentNetwork):
    """Logits of the next token at every step of a text; each call begins a text."""

    def __init__(self, layers: dict[str, nn.Module], tied: bool) -> None:
        super().__init__(layers)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits [B, T, V] of the tokens that follow tokens [B, T]."""
        return self.project(self.run_layers(self.embed(tokens), None))
