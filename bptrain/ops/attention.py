"""Scaled dot-product attention: each query takes a mean of values, weighted by keys like itself.

Shapes     q [N, A, T, E] queries     k [N, A, J, E] keys     v [N, A, J, F] values, one for a key
           B bias, broadcast to [N, A, T, J]: 0 where query i may look at key j, -inf where it may
           not, or any number that is added to the score           y [N, A, T, F]
           (every head is computed alone; A heads of q may share fewer heads of k and v)
Forward    Z_ij = c sum_e q_ie k_je + B_ij             the score; c = 1 / sqrt(E) by default, so
                                                       that Z has variance 1 where q and k have
           m_i  = max_j Z_ij      s_i = sum_j e^(Z_ij - m_i)
           P_ij = e^(Z_ij - m_i) / s_i                 softmax: row i sums to 1
           w_ij = M_ij P_ij                            M dropout: 0, or 1 / (1 - p) where kept
           y_if = sum_j w_ij v_jf
           A row whose scores are all -inf has nothing to look at: P, w and y are 0 there, not NaN
Backward   writing x' for dL/dx, given y' and, where the weights are an output too, their u'. Walk
           the chain from its end to its start; each line reads the line before:
    v' = w^T y'             because dy_if/dv_jf = w_ij, summed over i: a value is told by every
                            query that looked at it, in the measure in which it did
    w' = y' v^T + u'        because dy_if/dw_ij = v_jf, summed over f
    P' = M * w'             because dw_ij/dP_ij = M_ij: no message through a dropped weight
    D_i = sum_j P_ij P'_ij  the row's mean of P', weighted by the attention itself
    Z' = P * (P' - D)       because dP_ij/dZ_ih = P_ij ([j = h] - P_ih): raising a score raises
                            its own weight and lowers the whole row in proportion, so that what
                            counts is by how much P' is above the row's mean. Each row of Z' sums
                            to 0, as a constant added to a row of Z changes nothing
    B' = Z'                 because dZ_ij/dB_ij = 1; summed over the axes that B was spread along
    q' = c Z' k             because dZ_ij/dq_ie = c k_je, summed over j
    k' = c Z'^T q           because dZ_ij/dk_je = c q_ie, summed over i
Keeps      q, k, m and s, from which P is computed again, B if there is one, v unless v' alone is
           wanted, and 1 byte a weight for what dropout hid; never Z, P or w. Computing P twice
           costs one product in six; keeping it costs T J numbers a head
Fused      where `attention_fused.fits`, a kernel does the same block by block without ever writing
           a T x J matrix; with D_i = sum_f y'_if y_if, which is equal because both are
           sum_j sum_f w_ij y'_if v_jf: it keeps y for that
Appended   a row r put after all others of k or v, in every sample (`append_token`): its gradient
    r' = sum_n y'_n,last    because dy_n,last/dr = 1 in each sample n; the other rows' passes on
Cost       2 T J (E + F) flops a head forward, and 2 T J (3 E + 2 F) backward, E of them for P
Source     A. Vaswani et al., Attention Is All You Need (2017), equation 1; keeping m and s in the
           place of P: T. Dao et al., FlashAttention (2022), algorithm 4; the derivation is ours
"""

from math import inf, sqrt
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.attention_fused import FusedSaved, fits, fused_backward, fused_forward
from bptrain.ops.attention_shapes import check_mask, checked_leading, four_axes
from bptrain.ops.autocast import first_derivative, in_autocast_dtype, in_given_dtype

Masks = tuple[Tensor | None, Tensor | None]
Weights = Literal["none", "each", "mean"]


class Options(NamedTuple):
    """The constants of one call."""

    c: float
    is_causal: bool
    p: float  # probability that a weight is dropped
    weights: Weights  # whether w is an output: of each head, or the mean over the heads


class Saved(NamedTuple):
    """What the backward pass reads."""

    q: Tensor  # [..., A, T, E]
    k: Tensor  # [..., A, J, E], or fewer heads
    v: Tensor | None  # [..., A, J, F], or fewer heads
    m: Tensor  # [..., A, T, 1]
    s: Tensor  # [..., A, T, 1]
    hidden: Tensor | None  # [..., A, T, J], True where dropout took a weight away
    mask: Tensor | None  # both masks together are B
    padding: Tensor | None


class Needs(NamedTuple):
    """Which gradients are wanted."""

    q: bool
    k: bool
    v: bool
    masks: tuple[bool, ...]


class Grads(NamedTuple):
    """The gradients, each None if it is not wanted."""

    q: Tensor | None
    k: Tensor | None
    v: Tensor | None
    masks: tuple[Tensor | None, ...]


def scores(q: Tensor, k: Tensor, masks: Masks, options: Options) -> Tensor:
    """Return Z [..., A, T, J], in float32 for 16-bit q: its exponent would lose all digits."""
    heads, T, J = q.shape[-3], q.shape[-2], k.shape[-2]
    queries = per_key_head(_wide(q) * options.c, k.shape[-3])
    Z = (queries @ _wide(k).mT).view(*q.shape[:-3], heads, T, J)
    for mask in masks:
        if mask is None:
            continue
        masked = Z[
            ..., : mask.shape[-1]
        ]  # keys past the end of the mask were appended: seen by all
        if mask.dtype == torch.bool:
            masked.masked_fill_(~mask, -inf)
        else:
            masked.add_(mask)
    if options.is_causal:
        Z.masked_fill_(torch.ones(T, J, dtype=torch.bool, device=q.device).triu_(1), -inf)
    return Z


def forward(
    q: Tensor, k: Tensor, v: Tensor, masks: Masks, options: Options
) -> tuple[Tensor, Tensor | None, Saved]:
    """Return y [..., A, T, F], w or its mean over the heads or None, and what is kept."""
    Z = scores(q, k, masks, options)
    m = Z.amax(-1, keepdim=True) if Z.shape[-1] else Z.new_zeros(*Z.shape[:-1], 1)
    # Symptom: NaN for a query that may look at no key. Cause: -inf - -inf, then 0 / 0. Remedy:
    # there m = 0 and s = 1, which make every e^(Z - m) / s a 0.
    m.masked_fill_(m == -inf, 0)
    P = Z.sub_(m).exp_()
    s = P.sum(-1, keepdim=True)
    s.masked_fill_(s == 0, 1)
    P.div_(s)

    hidden = None
    if options.p:
        hidden = torch.empty_like(P, dtype=torch.bool).bernoulli_(1 - options.p).logical_not_()
    w = drop_(P, hidden, options.p)
    y = (per_key_head(w, v.shape[-3]) @ _wide(v)).view(*q.shape[:-1], v.shape[-1])
    # a token's heads side by side in memory: what follows reads them as one vector, without a copy
    y = y.to(q.dtype).transpose(-3, -2).contiguous().transpose(-3, -2)

    shown = {"none": None, "each": w, "mean": w.mean(-3) if options.weights == "mean" else None}
    u = shown[options.weights]
    return y, None if u is None else u.to(q.dtype), Saved(q, k, v, m, s, hidden, *masks)


def backward(
    grad_y: Tensor | None, grad_u: Tensor | None, saved: Saved, needs: Needs, options: Options
) -> Grads:
    """Return q', k', v' and the masks' B', each None if it is not wanted.

    grad_u   the gradient by the weights that were an output, y' and u' None where there is none
    """
    q, k, v, m, s, hidden, mask, padding = saved
    masks = (mask, padding)
    heads, c, p = k.shape[-3], options.c, options.p
    y_rows = None if grad_y is None else per_key_head(_wide(grad_y), heads)
    P = scores(q, k, masks, options).sub_(m).exp_().div_(s)

    grad_q = grad_k = grad_v = None
    grad_masks: list[Tensor | None] = [None for _ in masks]
    if v is not None:
        grad_P = drop_(_grad_w(y_rows, grad_u, v, P.shape), hidden, p)
        # Z' = P * P' - P * D, in the memory of P': a new T x J matrix costs more than its numbers
        grad_Z = grad_P.mul_(P)
        D = grad_Z.sum(-1, keepdim=True)
        grad_Z.addcmul_(P, D, value=-1)
        rows = per_key_head(grad_Z, heads)
        if needs.q:
            grad_q = (rows @ _wide(k)).mul_(c).view(q.shape)
        if needs.k:
            grad_k = (rows.mT @ per_key_head(_wide(q), heads)).mul_(c)
        grad_masks = [_grad_mask(grad_Z, *each) for each in zip(masks, needs.masks, strict=True)]
    if needs.v and y_rows is not None:
        w = drop_(P, hidden, p)  # the last to read P, whose memory it takes
        grad_v = per_key_head(w, heads).mT @ y_rows
    return Grads(grad_q, grad_k, grad_v, tuple(grad_masks))


def _grad_w(y_rows: Tensor | None, grad_u: Tensor | None, v: Tensor, shape: torch.Size) -> Tensor:
    """Return w' = y' v^T + u' in memory of its own; a u' of the mean is 1 / A for each head."""
    if grad_u is not None and grad_u.dim() < len(shape):
        grad_u = (grad_u / shape[-3]).unsqueeze(-3)
    if y_rows is None:
        assert grad_u is not None, "autograd calls only for some gradient"
        return _wide(grad_u).expand(shape).clone()
    grad_w = (y_rows @ _wide(v).mT).view(shape)
    return grad_w if grad_u is None else grad_w.add_(grad_u)


def _grad_mask(grad_Z: Tensor, mask: Tensor | None, wanted: bool) -> Tensor | None:
    """Return B' summed over the axes along which the mask was spread."""
    if mask is None or not wanted:
        return None
    return grad_Z[..., : mask.shape[-1]].sum_to_size(mask.shape)


def drop_(x: Tensor, hidden: Tensor | None, p: float) -> Tensor:
    """Return M * x, in the memory of x."""
    if hidden is None:
        return x
    return x.masked_fill_(hidden, 0).mul_(1 / (1 - p) if p < 1 else 0)


def per_key_head(x: Tensor, heads: int) -> Tensor:
    """Return x [..., A, T, *] as [..., heads, (A / heads) T, *].

    Query heads that share a head of keys become more rows of that head: neither are keys and
    values copied for them, nor must their gradients be summed afterwards, the product does it.
    """
    *leading, A, T, size = x.shape
    return x.reshape(*leading, heads, A // heads * T, size)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class AttentionFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_autocast_dtype
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        padding: Tensor | None,
        options: Options,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the forward pass and keep what the wanted gradients read."""
        y, u, saved = forward(q, k, v, (mask, padding), options)
        needs_q, needs_k, needs_v, *needs_masks, _ = ctx.needs_input_grad
        ctx.needs, ctx.options = Needs(needs_q, needs_k, needs_v, tuple(needs_masks)), options
        beyond_v = needs_q or needs_k or any(needs_masks)
        ctx.save_for_backward(*saved._replace(v=v if beyond_v else None))
        ctx.set_materialize_grads(False)
        return y, u

    @staticmethod
    @first_derivative
    def backward(
        ctx: Any, grad_y: Tensor | None, grad_u: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Run the backward pass."""
        grads = backward(grad_y, grad_u, Saved(*ctx.saved_tensors), ctx.needs, ctx.options)
        return grads.q, grads.k, grads.v, *grads.masks, None


class FusedAttentionFunction(torch.autograd.Function):
    """Glue between autograd and the fused kernels."""

    @staticmethod
    @in_autocast_dtype
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        padding: Tensor | None,
        options: Options,
    ) -> Tensor:
        """Run the forward pass and keep what the kernel's backward pass reads."""
        ctx.options = options
        y, saved = fused_forward(q, k, v, (mask, padding), options.c, options.is_causal, options.p)
        ctx.save_for_backward(*saved)
        return y

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Run the backward pass."""
        c, is_causal, p, _ = ctx.options
        grads = fused_backward(grad_y, FusedSaved(*ctx.saved_tensors), c, is_causal, p)
        wanted = zip(grads, ctx.needs_input_grad, strict=False)
        return *(grad if is_wanted else None for grad, is_wanted in wanted), None, None, None


def append_forward(x: Tensor, token: Tensor | None) -> Tensor:
    """Return x [N, A, J, E] with one more row at the end: token [A, 1, E], or zeros."""
    row = x.new_zeros(1, x.shape[-1]) if token is None else token.to(x.dtype)
    return torch.cat([x, row.expand(*x.shape[:-2], 1, -1)], -2)


def append_backward(
    grad_y: Tensor, needs_x: bool, token: torch.Size | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and token', which is summed over the samples because it stands in each.

    token   the token's shape, None if its gradient is not wanted
    """
    grad_x = grad_y[..., :-1, :] if needs_x else None
    return grad_x, None if token is None else grad_y[..., -1:, :].sum_to_size(token)


class AppendFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, token: Tensor | None) -> Tensor:
        """Run the forward pass; nothing is kept but a shape."""
        ctx.token = token.shape if token is not None and ctx.needs_input_grad[1] else None
        return append_forward(x, token)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Run the backward pass."""
        return append_backward(grad_y, ctx.needs_input_grad[0], ctx.token)


def append_token(x: Tensor, token: Tensor | None) -> Tensor:
    """Return x [N, A, J, E] with one more key or value: token [A, 1, E], or zeros."""
    y: Tensor = AppendFunction.apply(x, token)
    return y


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, padding: Tensor | None, options: Options
) -> tuple[Tensor, Tensor | None]:
    """Return y and the weights that `options` asks for, of q, k, v [N, A, T or J, E or F].

    mask, padding   together B: each broadcasts to [N, A, T, J] in all axes but its last, where it
                    may be shorter: keys past its end are seen by every query
    """
    if options.weights == "none" and fits(q, k, v, (mask, padding), options.p):
        y: Tensor = FusedAttentionFunction.apply(q, k, v, mask, padding, options)
        return y, None
    y, u = AttentionFunction.apply(q, k, v, mask, padding, options)
    return y, u


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(query @ key^T * scale + attn_mask) @ value.

    query [..., T, E], key [..., J, E], value [..., J, F]; returns [..., T, F]. Leading axes
    broadcast; with `enable_gqa` the last of them may be smaller by a whole factor in key and
    value. attn_mask broadcasts to [..., T, J]: bool, True where the query may look at the key, or
    numbers that are added. `is_causal` hides keys after the query's own place. `dropout_p` acts
    always: there is no eval mode here. `scale` is 1 / sqrt(E) by default. Raises ValueError for
    shapes, dtypes or options that do not fit together.
    """
    if attn_mask is not None and is_causal:
        raise ValueError("attn_mask and is_causal=True are both given, expected one of them")
    if not 0.0 <= dropout_p <= 1.0:
        raise ValueError(f"dropout_p is {dropout_p}, expected 0 to 1")
    leading = checked_leading(query, key, value, enable_gqa)
    q, k, v = (four_axes(x, leading, enable_gqa) for x in (query, key, value))
    mask = attn_mask
    if mask is not None:
        check_mask(mask, query, [*leading, query.shape[-2], key.shape[-2]])
        mask = mask.expand(*mask.shape[:-1], key.shape[-2])
    c = 1 / sqrt(query.shape[-1]) if scale is None else scale
    y, _ = attention(q, k, v, mask, None, Options(c, is_causal, dropout_p, "none"))
    return y.view(*leading, *y.shape[-2:])
