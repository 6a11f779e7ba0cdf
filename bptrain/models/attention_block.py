"""A block of a transformer: self-attention, then a perceptron at each step, each with a skip.

Both branches read a normalized copy of the sum (pre-norm), so that the sum itself leads from the
last block to the first without any layer between: Xiong et al. 2020.
"""

import torch
from torch import Tensor

from bptrain import nn
from bptrain.models.key_value_cache import LayerCache

Turns = tuple[Tensor, Tensor]  # cosine and sine of the rotary angles, [T, E / 2] each


class SelfAttention(torch.nn.Module):
    """A heads in parallel, each a mean of the values at the steps that its queries match.

    qkv     one projection to queries, keys and values [3 A E]
    rotary  turns queries and keys by their steps; None where positions are told otherwise
    """

    def __init__(
        self, width: int, heads: int, is_causal: bool, is_rotary: bool, device: torch.device | str
    ) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, device=device)
        self.rotary = nn.Rotary() if is_rotary else None
        self.attention = nn.DotProductAttention(is_causal)
        self.output = nn.Linear(width, width, device=device)

    def forward(
        self,
        input: Tensor,
        turns: Turns | None = None,
        mask: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Return [N, T, W] of input [N, T, W].

        turns  what rotary turns queries and keys by
        mask   True where a query may see a key, broadcast to [N, A, T, J]
        cache  of the steps before, whose keys and values are seen too
        """
        samples, steps, width = input.shape
        packed = self.qkv(input).view(samples, steps, 3, self.heads, width // self.heads)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind()  # [N, A, T, E] each
        if self.rotary is not None and turns is not None:
            q, k = self.rotary(q, *turns), self.rotary(k, *turns)
        if cache is not None:
            k, v = cache.extended(k, v)
        heads = self.attention(q, k, v, mask)
        output: Tensor = self.output(heads.transpose(1, 2).flatten(2))
        return output


class TransformerBlock(torch.nn.Module):
    """x + attention(norm1(x)), then y + linear2(activation(linear1(norm2(y))))."""

    def __init__(
        self,
        attention: SelfAttention,
        width: int,
        hidden: int,
        activation: str,
        dropout: float,
        device: torch.device | str,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, device=device)
        self.attention = attention
        self.dropout1 = nn.Dropout(dropout)
        self.add1 = nn.Add()
        self.norm2 = nn.LayerNorm(width, device=device)
        self.linear1 = nn.Linear(width, hidden, device=device)
        self.activation = nn.GELU() if activation == "gelu" else nn.ReLU()
        self.linear2 = nn.Linear(hidden, width, device=device)
        self.dropout2 = nn.Dropout(dropout)
        self.add2 = nn.Add()

    def forward(
        self,
        input: Tensor,
        turns: Turns | None = None,
        mask: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Return [N, T, W] of input [N, T, W]; the arguments are those of the attention."""
        attended = self.attention(self.norm1(input), turns, mask, cache)
        x = self.add1(input, self.dropout1(attended))
        hidden = self.activation(self.linear1(self.norm2(x)))
        output: Tensor = self.add2(x, self.dropout2(self.linear2(hidden)))
        return output
