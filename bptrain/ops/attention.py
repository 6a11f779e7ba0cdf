"""Scaled dot-product attention: each query takes a mean of values, weighted by keys like itself.

Shapes     q [N, A, T, E] queries     k [N, A, J, E] keys     v [N, A, J, F] values, one for a key
           B bias, broadcast to [N, A, T, J]: 0 where query i may look at key j, -inf where it may
           not, or any number that is added to the score           y [N, A, T, F]
           (every head is computed alone; A heads of q may share fewer heads of k and v)
Forward    Z_ij = c sum_e q_ie k_je + B_ij             the score; c = 1 / sqrt(E) by default, so
                                                       that Z has variance 1 where q and k have
           m_i  = max_j Z_ij      s_i = sum_j e^(Z_ij - m_i)
           P_ij = e^(Z_ij - m_i) / s_i                 softmax: row i sums to 1
           w_ij = M_ij P_ij                            M dropout: 0, or 1 / (1 - p) if not dropped
           y_if = sum_j w_ij v_jf
           A row whose scores are all -inf has nothing to look at: P, w and y are 0 there, not NaN
Backward   writing x' for dL/dx, given y' and, where the weights are an output too, their u'. From
           the end of the chain to its start; each line reads the line before:
    v' = w^T y'             because dy_if/dv_jf = w_ij, summed over i: every query that looked at a
                            value adds to its gradient, in proportion to the weight
    w' = y' v^T + u'        because dy_if/dw_ij = v_jf, summed over f
    P' = M * w'             because dw_ij/dP_ij = M_ij: 0 through a dropped weight
    D_i = sum_j P_ij P'_ij  the row's mean of P', weighted by the attention itself
    Z' = P * (P' - D)       because dP_ij/dZ_ih = P_ij ([j = h] - P_ih): raising a score raises
                            its own weight and lowers the whole row in proportion, so that what
                            counts is by how much P' is above the row's mean. Each row of Z' sums
                            to 0, as a constant added to a row of Z changes nothing
    B' = Z'                 because dZ_ij/dB_ij = 1; summed over the axes that B was spread along
    q' = c Z' k             because dZ_ij/dq_ie = c k_je, summed over j
    k' = c Z'^T q           because dZ_ij/dk_je = c q_ie, summed over i
Saves      q, k, m and s, from which P is computed again, B if there is one, v unless v' alone is
           needed, and 1 byte a weight for what dropout zeroed; never Z, P or w. Computing P twice
           costs one product in six; saving it costs T J numbers a head
Kernels    where `attention_fused.fits`, a kernel computes the same block by block without ever
           writing a T x J matrix
Cost       2 T J (E + F) flops a head forward, and 2 T J (3 E + 2 F) backward, E of them for P
Source     A. Vaswani et al., Attention Is All You Need (2017), equation 1; saving m and s in the
           place of P: T. Dao et al., FlashAttention (2022), algorithm 4; derived here
"""

from math import inf, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.attention_fused import FusedSaved, fits, fused_backward, fused_forward
from bptrain.ops.attention_scores import Needs, Options, drop_, per_key_head, scores, wide
from bptrain.ops.attention_shapes import check_mask, checked_leading, four_axes
from bptrain.ops.dropout import drawn
from bptrain.ops.operation import operation
from bptrain.ops.precision import MATMUL
from bptrain.ops.second_derivatives import overwritable

Outputs = tuple[Tensor, Tensor | None]
Gradients = tuple[Tensor | None, ...]


class Saved(NamedTuple):
    """What the backward pass reads."""

    q: Tensor  # [..., A, T, E]
    k: Tensor  # [..., A, J, E], or fewer heads
    v: Tensor | None  # [..., A, J, F], or fewer heads
    m: Tensor  # [..., A, T, 1]
    s: Tensor  # [..., A, T, 1]
    dropped: Tensor | None  # [..., A, T, J], True where dropout took a weight away
    mask: Tensor | None  # both masks together are B
    padding: Tensor | None
    options: Options


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    padding: Tensor | None,
    options: Options,
    needs: Needs,
) -> tuple[Outputs, Saved]:
    """Return y [..., A, T, F], and w or its mean over the heads or None."""
    P, m, s = _exponentials(scores(q, k, (mask, padding), options))
    P.div_(s)

    dropped = None
    if options.p:
        dropped = drawn(P, options.p).logical_not_()
    w = drop_(P, dropped, options.p)
    y = (per_key_head(w, v.shape[-3]) @ wide(v)).view(*q.shape[:-1], v.shape[-1])
    # a token's heads side by side in memory: what follows reads them as one vector, without a copy
    y = y.to(q.dtype).transpose(-3, -2).contiguous().transpose(-3, -2)

    outputs = {"none": None, "each": w, "mean": w.mean(-3) if options.weights == "mean" else None}
    u = outputs[options.weights]
    beyond_v = needs.q or needs.k or needs.mask or needs.padding
    saved = Saved(q, k, v if beyond_v else None, m, s, dropped, mask, padding, options)
    return (y, None if u is None else u.to(q.dtype)), saved


def _exponentials(Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return e^(Z - m) in the memory of Z, m and s."""
    # a constant also where Z is differentiated: P does not depend on it
    m = Z.detach().amax(-1, keepdim=True) if Z.shape[-1] else Z.new_zeros(*Z.shape[:-1], 1)
    # Symptom: NaN for a query that may look at no key. Cause: -inf - -inf, then 0 / 0. Remedy:
    # there m = 0 and s = 1, which make every e^(Z - m) / s a 0.
    m.masked_fill_(m == -inf, 0)
    exponentials = Z.sub_(m).exp_()
    s = exponentials.sum(-1, keepdim=True)
    s.masked_fill_(s == 0, 1)
    return exponentials, m, s


def reconnect(saved: Saved | FusedSaved) -> Saved:
    """Return Saved with m and s computed from q, k and the masks again."""
    if isinstance(saved, FusedSaved):
        if saved.options.p:
            raise NotImplementedError(
                "attention has no second derivative here: its kernel on CUDA does not tell which "
                "weights dropout took away. Use use_kernels('formula'), or no dropout"
            )
        q, k, v, *_, options = saved
        _, m, s = _exponentials(scores(q, k, (saved.bias, None), options))
        return Saved(q, k, v, m, s, None, saved.bias, None, options)
    masks = saved.mask, saved.padding
    _, m, s = _exponentials(scores(saved.q, saved.k, masks, saved.options))
    return saved._replace(m=m, s=s)


def backward(grad_y: Tensor | None, grad_u: Tensor | None, saved: Saved, needs: Needs) -> Gradients:
    """Return q', k', v' and the masks' B', each None if it is not needed.

    grad_u   the gradient by the weights that were an output, y' and u' None where there is none
    """
    q, k, v, m, s, dropped, mask, padding, options = saved
    heads, c, p = k.shape[-3], options.c, options.p
    y_rows = None if grad_y is None else per_key_head(wide(grad_y), heads)
    P = overwritable(scores(q, k, (mask, padding), options).sub_(m).exp_()).div_(s)

    grad_q = grad_k = grad_v = grad_mask = grad_padding = None
    if v is not None:
        grad_P = drop_(_grad_w(y_rows, grad_u, v, P.shape), dropped, p)
        # Z' = P * P' - P * D, in the memory of P': a new T x J matrix costs more than its numbers
        grad_Z = grad_P.mul_(P)
        D = grad_Z.sum(-1, keepdim=True)
        grad_Z.addcmul_(P, D, value=-1)
        rows = per_key_head(grad_Z, heads)
        if needs.q:
            grad_q = (rows @ wide(k)).mul_(c).view(q.shape)
        if needs.k:
            grad_k = (rows.mT @ per_key_head(wide(q), heads)).mul_(c)
        if mask is not None and needs.mask:
            grad_mask = _grad_mask(grad_Z, mask)
        if padding is not None and needs.padding:
            grad_padding = _grad_mask(grad_Z, padding)
    if needs.v and y_rows is not None:
        w = drop_(overwritable(P), dropped, p)  # the last to read P, whose memory it takes
        grad_v = per_key_head(w, heads).mT @ y_rows
    return grad_q, grad_k, grad_v, grad_mask, grad_padding


def _grad_w(y_rows: Tensor | None, grad_u: Tensor | None, v: Tensor, shape: torch.Size) -> Tensor:
    """Return w' = y' v^T + u' in memory of its own; a u' of the mean is 1 / A for each head."""
    if grad_u is not None and grad_u.dim() < len(shape):
        grad_u = (grad_u / shape[-3]).unsqueeze(-3)
    if y_rows is None:
        assert grad_u is not None, "autograd calls only for some gradient"
        return wide(grad_u).expand(shape).clone()
    grad_w = (y_rows @ wide(v).mT).view(shape)
    return grad_w if grad_u is None else grad_w.add_(grad_u)


def _grad_mask(grad_Z: Tensor, mask: Tensor) -> Tensor:
    """Return B' summed over the axes along which the mask was spread."""
    grad = grad_Z[..., : mask.shape[-1]]
    return grad if grad.shape == mask.shape else grad.sum_to_size(mask.shape)


# Either output may be without a gradient: y where the loss reads the weights alone, the weights,
# which torch.nn.MultiheadAttention returns by default, where nobody reads them.
attention_function = operation(
    forward, backward, precision=MATMUL, optional_gradients=(0, 1), reconnect=reconnect
)
fused_attention_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=MATMUL,
    optional_gradients=(0, 1),
    reconnect=reconnect,
)


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, padding: Tensor | None, options: Options
) -> Outputs:
    """Return y and the weights that `options` asks for, of q, k, v [N, A, T or J, E or F].

    mask, padding   together B: each broadcasts to [N, A, T, J] in all axes but its last, where it
                    may be shorter: keys past its end are seen by every query
    """
    if options.weights == "none" and fits(q, k, v, (mask, padding), options.p):
        return fused_attention_function(q, k, v, mask, padding, options)
    return attention_function(q, k, v, mask, padding, options)


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
    c = 1 / sqrt(max(query.shape[-1], 1)) if scale is None else scale  # E = 0: all scores are 0
    y, _ = attention(q, k, v, mask, None, Options(c, is_causal, dropout_p, "none"))
    return y.view(*leading, *y.shape[-2:])
