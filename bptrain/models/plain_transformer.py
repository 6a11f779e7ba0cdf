"""The forward passes of our transformers in plain torch: what `export --code` copies into its file.

Only torch is imported here, as in plain.py; the layers' names are those of our models.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Rotary(nn.Module):
    """Turns pairs (k, k + E/2) of numbers by angles that depend on the time step."""

    def forward(self, input: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return input [..., T, E] turned by angles whose cos and sin are [T, E/2]."""
        u, v = input.chunk(2, -1)
        return torch.cat([cos * u - sin * v, sin * u + cos * v], -1)


class DotProductAttention(nn.Module):
    """softmax(query key^T / sqrt(E)) value of each head."""

    def __init__(self, is_causal: bool) -> None:
        super().__init__()
        self.is_causal = is_causal

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Return [N, A, T, E]; `mask` is true where a query may see a key."""
        return scaled_dot_product_attention(query, key, value, mask, is_causal=self.is_causal)


class SelfAttention(nn.Module):
    """Heads in parallel, each a mean of the values at the steps that its queries match."""

    qkv: nn.Linear
    rotary: nn.Module | None
    attention: nn.Module
    output: nn.Linear

    def __init__(self, layers: dict[str, nn.Module], heads: int) -> None:
        super().__init__()
        self.rotary, self.heads = layers.get("rotary"), heads
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(
        self, input: Tensor, turns: tuple[Tensor, Tensor] | None, mask: Tensor | None
    ) -> Tensor:
        """Return [N, T, W] of input [N, T, W]; `turns` are cos and sin of the rotary angles."""
        packed = self.qkv(input).unflatten(2, (3, self.heads, -1))
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind()
        if self.rotary is not None and turns is not None:
            q, k = self.rotary(q, *turns), self.rotary(k, *turns)
        heads = self.attention(q, k, v, mask)
        output: Tensor = self.output(heads.transpose(1, 2).flatten(2))
        return output


class TransformerBlock(nn.Module):
    """x + attention(norm1(x)), then y + linear2(activation(linear1(norm2(y))))."""

    attention: nn.Module
    norm1: nn.LayerNorm
    norm2: nn.LayerNorm
    linear1: nn.Linear
    linear2: nn.Linear
    activation: nn.Module
    dropout1: nn.Dropout
    dropout2: nn.Dropout

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(
        self, input: Tensor, turns: tuple[Tensor, Tensor] | None, mask: Tensor | None
    ) -> Tensor:
        """Return [N, T, W] of input [N, T, W]."""
        x = input + self.dropout1(self.attention(self.norm1(input), turns, mask))
        hidden = self.activation(self.linear1(self.norm2(x)))
        output: Tensor = x + self.dropout2(self.linear2(hidden))
        return output


class Transformer(nn.Module):
    """An embedding, positions, blocks, a normalization, and a linear output.

    context  longest sequence that can be read; None for any
    """

    embedding: nn.Embedding
    position: nn.Embedding
    dropout: nn.Dropout
    norm: nn.LayerNorm
    output: nn.Linear

    def __init__(self, layers: dict[str, nn.Module], positions: str, context: int | None) -> None:
        super().__init__()
        self.positions, self.context = positions, context
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.first_name = next(iter(layers))
        self.block_names = tuple(name for name in layers if name.startswith("block"))

    def embed(self, input: Tensor) -> Tensor:
        """Return [N, T, W] for tokens [N, T], features [N, T, ...] or images [N, C, H, W]."""
        x = input.unsqueeze(2) if self.first_name == "input" and input.dim() == 2 else input
        embedded: Tensor = getattr(self, self.first_name)(x)
        return embedded.flatten(2).transpose(1, 2) if self.first_name == "patches" else embedded

    def run_blocks(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the normalized features [N, T, W]."""
        if self.context is not None and x.shape[1] > self.context:
            raise ValueError(f"a sequence of {x.shape[1]} steps: expected {self.context} at most")
        steps, turns = torch.arange(x.shape[1], device=x.device), None
        if self.positions == "learned":
            x = x + self.position(steps)
        elif self.positions == "sinusoidal":
            cos, sin = self.angles(steps, x.shape[2])
            x = x + torch.cat([sin, cos], 1)
        else:
            heads = getattr(self, self.block_names[0]).attention.heads
            turns = self.angles(steps, x.shape[2] // heads)
        x = self.dropout(x)
        for name in self.block_names:
            x = getattr(self, name)(x, turns, mask)
        features: Tensor = self.norm(x)
        return features

    def angles(self, steps: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return cosine and sine [T, size / 2] of the angles t 10000^(-2k / size)."""
        pairs = torch.arange(0, size, 2, device=steps.device) / size
        turned = steps[:, None] * torch.pow(10_000.0, -pairs)
        return turned.cos(), turned.sin()

    def valid(self, padded: Tensor, lengths: Tensor) -> Tensor:
        """Return a mask [N, T], true for steps that are not padding."""
        steps = torch.arange(padded.shape[1], device=padded.device)
        return steps < lengths.to(padded.device)[:, None]


class TransformerOnce(Transformer):
    """One output for a whole sequence or image, from the mean of the features over its steps."""

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return [N, K] of sequences of `lengths` [N] steps, padded at their end."""
        embedded = self.embed(input)
        if lengths is None:
            mean = self.run_blocks(embedded).mean(1)
        else:
            valid = self.valid(embedded, lengths)
            features = self.run_blocks(embedded, valid[:, None, None])
            sums = torch.where(valid[:, :, None], features, 0.0).sum(1)
            mean = sums / valid.sum(1, keepdim=True)
        output: Tensor = self.output(mean)
        return output


class TransformerEachStep(Transformer):
    """An output at every step of a sequence; zeros where there is padding."""

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return [N, T, K] of sequences of `lengths` [N] steps, padded at their end."""
        embedded = self.embed(input)
        if lengths is None:
            output: Tensor = self.output(self.run_blocks(embedded))
            return output
        valid = self.valid(embedded, lengths)
        features = self.run_blocks(embedded, valid[:, None, None])
        return torch.where(valid[:, :, None], self.output(features), 0.0)


class TransformerLanguageModel(Transformer):
    """Logits of the next token at every step of a text; each call begins a text."""

    def __init__(
        self, layers: dict[str, nn.Module], positions: str, context: int, tied: bool
    ) -> None:
        super().__init__(layers, positions, context)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits [N, T, V] of the tokens that follow tokens [N, T]."""
        output: Tensor = self.output(self.run_blocks(self.embed(tokens)))
        return output
