"""torch.nn.MultiheadAttention with the backward passes of `bptrain.ops.attention` and `linear`."""

from math import sqrt

import torch
from torch import Tensor

from bptrain.ops.append_token import append_token
from bptrain.ops.attention import attention, scaled_dot_product_attention
from bptrain.ops.attention_scores import Options
from bptrain.ops.linear import linear


class MultiheadAttention(torch.nn.MultiheadAttention):
    """A heads in parallel, each with its own projections of the same sequence.

    Two differences from torch, both where torch's answer depends on `need_weights`: a query that
    may look at no key gives zeros and weights of zero with it too, where torch gives NaN; and a
    key appended by add_bias_kv or add_zero_attn is seen by every query, though `is_causal` is set.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output and, where asked for, the weights.

        query [T, N, E], key [J, N, kdim], value [J, N, vdim], N first with batch_first, without N
        if unbatched. key_padding_mask [N, J] and attn_mask [T, J] or [N A, T, J]: bool, True where
        a key is hidden, or numbers added to the scores. The output is query's shape; the weights
        [N, T, J], the mean over the heads, or else [N, A, T, J]. `is_causal` promises that
        attn_mask is the causal mask, which then need not be read.
        """
        batched = query.dim() == 3
        self._check_shapes(query, key, value)
        self._check_masks(query, key, key_padding_mask, attn_mask)
        if is_causal and attn_mask is None:
            raise ValueError("is_causal=True promises that attn_mask is causal, but none is given")

        q, k, v = (self._by_head(x, batched) for x in self._projected(query, key, value))
        mask = self._seen(attn_mask)
        if mask is not None and mask.dim() == 3:
            mask = mask.view(q.shape[0], self.num_heads, *mask.shape[1:])  # [N, A, T, J]
        padding = self._seen(key_padding_mask)
        if padding is not None:
            padding = padding.view(q.shape[0], 1, 1, padding.shape[-1])

        k, v = self._with_appended(k, v)
        appended = k.shape[-2] > key.shape[0 if not (batched and self.batch_first) else 1]
        trusts = is_causal and padding is None and not need_weights and not appended
        options = Options(
            c=1 / sqrt(self.head_dim),
            is_causal=trusts,
            p=self.dropout if self.training else 0.0,
            weights="none" if not need_weights else "mean" if average_attn_weights else "each",
        )
        y, weights = attention(q, k, v, None if trusts else mask, padding, options)

        order = (0, 2, 1, 3) if self.batch_first or not batched else (2, 0, 1, 3)
        rows = y.permute(order).flatten(2)  # [N, T, E] or [T, N, E]: a view
        output = linear(rows, self.out_proj.weight, self.out_proj.bias)
        if batched:
            return output, weights
        return output.squeeze(0), None if weights is None else weights.squeeze(0)

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Return q, k, v [..., E]; for self-attention by one product."""
        if self.in_proj_weight is not None and query is key and key is value:
            packed = linear(query, self.in_proj_weight, self.in_proj_bias)
            return packed.view(*packed.shape[:-1], 3, self.embed_dim).unbind(-2)
        weights: tuple[Tensor, ...] = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        each = zip((query, key, value), weights, biases, strict=True)
        return tuple(linear(x, W, b) for x, W, b in each)

    def _by_head(self, x: Tensor, batched: bool) -> Tensor:
        """Return x [T, N, E], or batch first or unbatched, as [N, A, T, E / A]: a view."""
        heads = x.view(*x.shape[:-1], self.num_heads, self.head_dim)
        if not batched:
            return heads.unsqueeze(0).transpose(1, 2)
        return heads.transpose(1, 2) if self.batch_first else heads.permute(1, 2, 0, 3)

    def _with_appended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return k, v [N, A, J, E / A] with the keys that the options append."""
        if self.bias_k is not None and self.bias_v is not None:
            shape = (self.num_heads, 1, self.head_dim)
            k, v = (
                append_token(k, self.bias_k.view(shape)),
                append_token(v, self.bias_v.view(shape)),
            )
        if self.add_zero_attn:
            k, v = append_token(k, None), append_token(v, None)
        return k, v

    @staticmethod
    def _seen(mask: Tensor | None) -> Tensor | None:
        """Return the mask as attention reads it: a bool one is True where a key may be seen."""
        return ~mask if mask is not None and mask.dtype == torch.bool else mask

    def _check_shapes(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        expected = [self.embed_dim, self.kdim, self.vdim]
        same_axes = query.dim() == key.dim() == value.dim() and query.dim() in (2, 3)
        batch = 0 if self.batch_first else 1
        if (
            not same_axes
            or [query.shape[-1], key.shape[-1], value.shape[-1]] != expected
            or key.shape[:-1] != value.shape[:-1]
            or (query.dim() == 3 and query.shape[batch] != key.shape[batch])
        ):
            order = "[N, T" if self.batch_first else "[T, N"
            raise ValueError(
                f"query, key and value have shapes {list(query.shape)}, {list(key.shape)} and "
                f"{list(value.shape)}: expected {order}, {expected[0]}], the same with J and "
                f"{expected[1]}, and with J and {expected[2]}; or all without N"
            )

    def _check_masks(
        self, query: Tensor, key: Tensor, padding: Tensor | None, mask: Tensor | None
    ) -> None:
        time, batch = (1, 0) if self.batch_first else (0, 1)
        if query.dim() == 2:
            N, T, J = 1, query.shape[0], key.shape[0]
        else:
            N, T, J = query.shape[batch], query.shape[time], key.shape[time]
        by_batch = [J] if query.dim() == 2 else [N, J]
        if padding is not None and list(padding.shape) != by_batch:
            raise ValueError(
                f"key_padding_mask has shape {list(padding.shape)}, expected {by_batch}"
            )
        by_pair = [[T, J], [N * self.num_heads, T, J]]
        if mask is not None and list(mask.shape) not in by_pair:
            raise ValueError(
                f"attn_mask has shape {list(mask.shape)}, expected {by_pair[0]} or {by_pair[1]}"
            )
        for name, given in (("key_padding_mask", padding), ("attn_mask", mask)):
            if given is not None and not (given.dtype == torch.bool or given.is_floating_point()):
                raise ValueError(
                    f"{name} has dtype {given.dtype}, expected torch.bool or floating point"
                )


class DotProductAttention(torch.nn.Module):
    """softmax(query key^T / sqrt(E)) value of each head, without projections.

    torch.nn has no such module: the projections of MultiheadAttention belong to it, and let nobody
    turn queries and keys (`Rotary`) before the product.

    is_causal  whether, where no mask is given, a query sees keys up to its own step only
    """

    def __init__(self, is_causal: bool = False) -> None:
        super().__init__()
        self.is_causal = is_causal

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Return [N, A, T, E] of query [N, A, T, E], key and value [N, A, J, E].

        mask  broadcasts to [N, A, T, J]: True where a query may see a key
        """
        is_causal = self.is_causal and mask is None
        return scaled_dot_product_attention(query, key, value, mask, is_causal=is_causal)

    def extra_repr(self) -> str:
        """Return the arguments that the repr shows."""
        return f"is_causal={self.is_causal}"
