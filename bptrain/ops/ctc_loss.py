"""Connectionist temporal classification: the likelihood of a label sequence, whatever its timing.

T frames each name a class or the blank; collapsing repeats and then deleting blanks reads labels
off them ("hh-ee-l-ll-oo" is "hello"). The loss is -log of the probability of all frame sequences
that read as the target: exponentially many, but a recursion sums them in T steps.

Shapes     x [T, N, K] log-probabilities of the classes in each frame; each sample has U of T frames
           z [N, S] the target with a blank around and between its labels, S = 2 (labels) + 1
           L scalar, or [N] for 'none'; 'mean' divides a sample's loss by its number of labels first
Forward    A path moves along z from its start to its end, one frame a step. In a step it may stay,
           move on by one, or skip the blank between two labels, if these differ: between equal
           ones only the blank tells that there are two. With e_t(s) = x_t,z(s), after t frames
           a_0(s) = log [s = 0]                                       before any frame: at the start
           a_t(s) = e_t(s) + log(e^a_t-1(s) + e^a_t-1(s-1) + [z_s != z_s-2] e^a_t-1(s-2))
           l      = -log(e^a_U(S-1) + e^a_U(S-2))       at the end: the last blank or the last label
           a_t(s) is the log-probability of the first t frames on all paths that are at s then.
           Two neighboring blanks are equal too, so that the one condition never skips a label
Backward   writing x' for dL/dx, given l' (of the mean: L' / (N labels))
           b_U(s) = log [s = S-1 or s = S-2]
           b_t(s) = log(sum of e^(e_t+1(r) + b_t+1(r)) over r = s, s+1 and, if z_s+2 != z_s, s+2)
           b_t(s) is the log-probability of the frames after t for a path that is at s then, so that
           e^(a_t(s) + b_t(s)) is the probability of all whole paths through s at t, and
    g_t(s) = e^(a_t(s) + b_t(s) + l)      their share of the target's probability e^-l, which is
                                          the probability of being at s; its sum over s is 1
    x' = (e^x_tk - sum_s [z_s = k] g_t(s)) l'   because e^-l is a sum over paths of products of
                                          e^e, in which e_t(s) is a factor of just the paths through
                                          s at t: d(e^-l)/de_t(s) = e^(a + b), so dl/de_t(s) = -g;
                                          and e^x is torch's convention, of which below. 0 past U
Returned   the derivative by x alone is -g, yet torch, and we, return p - g with p = e^x. Where x
           comes from log_softmax both send the same to the logits: it turns x' into
           x' - p sum_k x', and the sum of -g is -1, that of p - g is 0. So what is returned is the
           gradient by the logits already, the famous p minus target, the target's place in time
           inferred; but for x whose e^x does not sum to 1 it is no derivative
Infinite   a target that does not fit into U frames has no path: l is inf, its gradient NaN, or both
           0 with zero_infinity. A class of probability 0, x = -inf, gets a gradient of 0, where
           torch's (inf - inf) gives NaN
Saves      x, a [T + 1, N, S], l, z and the lengths; e is read from x again, b is computed from the
           last frame to the first
Cost       per frame and place of z 2 log-sums forward and 2 backward; T steps one after the other,
           each over all samples and places at once: as fast as torch's kernel where these are
           many (N S of a thousand or more, on a CPU core), slower where the steps are short
Source     A. Graves et al., Connectionist Temporal Classification (2006), equations 5 to 16, with
           its beta without the frame t itself, in log space; derived here
"""

from collections.abc import Sequence
from math import inf, nan
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_on
from bptrain.ops.reduction import Reduction, checked_reduction

Lengths = Tensor | Sequence[int]


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor  # [T, N, K]
    z: Tensor  # [N, S]
    frames: Tensor  # [N], U
    labels: Tensor  # [N], how many the target has
    nll: Tensor  # [N], l
    a: Tensor  # [T + 1, 2 + S, N], two places before the start that no path is at
    reduction: Reduction
    zero_infinity: bool


def forward(
    x: Tensor,
    z: Tensor,
    frames: Tensor,
    labels: Tensor,
    reduction: Reduction,
    zero_infinity: bool,
) -> tuple[Tensor, Saved]:
    """Return L in the dtype of x."""
    e, skip_mask = emissions(x, z), skip_mask_of(z)
    no_path = torch.full_like(e[0, :1], -inf).expand(2, -1)
    a_t = torch.full_like(e[0], -inf)
    a_t[0] = 0
    a_t = torch.cat([no_path, a_t])
    a = [a_t]
    for e_t in e.unbind(0):
        stay, step, skip = a_t[2:], a_t[1:-1], a_t[:-2] + skip_mask
        a_t = torch.cat([no_path, torch.logaddexp(torch.logaddexp(stay, step), skip).add_(e_t)])
        a.append(a_t)
    table = torch.stack(a)

    sample = torch.arange(len(frames), device=x.device)
    last_blank = table[frames, 2 * labels + 2, sample]  # at S - 1, after the two in front
    last_label = table[frames, 2 * labels + 1, sample]  # of a target without labels: in front
    nll = -torch.logaddexp(last_blank, last_label)

    loss = nll.masked_fill(nll == inf, 0) if zero_infinity else nll
    if reduction == "mean":
        loss = (loss / labels.clamp(min=1)).mean()
    elif reduction == "sum":
        loss = loss.sum()
    saved = Saved(x, z, frames, labels, nll, table, reduction, zero_infinity)
    return loss.to(x.dtype), saved


def backward(grad_loss: Tensor, saved: Saved) -> Tensor:
    """Return x' [T, N, K] under torch's convention."""
    x, z, frames, labels, nll, a, *_ = saved
    b = log_probability_after(emissions(x, z), z, frames, labels)
    possible = nll.masked_fill(nll == inf, 0)  # a + b is -inf there: -inf + inf would be NaN
    g = b.add_(a[1:, 2:]).add_(possible).exp_()  # [T, S, N]

    grad_x = _wide(x).exp()
    grad_x.scatter_add_(2, z.expand(len(x), *z.shape), g.neg_().transpose(1, 2))
    grad_x.mul_(_grad_nll(grad_loss, saved).unsqueeze(1))
    past = torch.arange(len(x), device=x.device).unsqueeze(1) >= frames  # [T, N]
    return grad_x.masked_fill_(past.unsqueeze(2), 0).to(x.dtype)


def log_probability_after(e: Tensor, z: Tensor, frames: Tensor, labels: Tensor) -> Tensor:
    """Return b [T, S, N], of which the first is b_1."""
    place = torch.arange(z.shape[1], device=z.device).unsqueeze(1)
    ends = (place == 2 * labels) | (place == 2 * labels - 1)  # [S, N]
    b_end = torch.full_like(e[0], -inf).masked_fill_(ends, 0)
    no_path = torch.full_like(e[0, :1], -inf).expand(2, -1)
    skip_mask = torch.cat([skip_mask_of(z), no_path])[2:]  # of the place that is skipped to
    b_t = torch.full_like(b_end, -inf)
    b = []
    for t, e_t in zip(range(len(e), 0, -1), reversed(e.unbind(0)), strict=True):
        b_t = torch.where(frames == t, b_end, b_t)
        b.append(b_t)
        ahead = torch.cat([e_t + b_t, no_path])
        stay, step, skip = ahead[:-2], ahead[1:-1], ahead[2:] + skip_mask
        b_t = torch.logaddexp(torch.logaddexp(stay, step), skip)
    return torch.stack(b[::-1])


def emissions(x: Tensor, z: Tensor) -> Tensor:
    """Return e [T, S, N], in float32 for 16-bit x: T of them are added up.

    The samples come last so that moving along z is moving by whole rows of memory: the steps of
    the recursion then read what lies in one piece, which makes them twice as fast on a CPU.
    """
    e = _wide(x).gather(2, z.expand(len(x), *z.shape))
    return e.transpose(1, 2).contiguous()


def skip_mask_of(z: Tensor) -> Tensor:
    """Return [S, N] the mask added to a skip to s: 0 where z_s != z_s-2, else -inf."""
    differs = torch.zeros_like(z, dtype=torch.bool)
    differs[:, 2:] = z[:, 2:] != z[:, :-2]
    return torch.where(differs, 0.0, -inf).t().contiguous()


def _grad_nll(grad_loss: Tensor, saved: Saved) -> Tensor:
    """Return l' [N], NaN or with zero_infinity 0 where l is infinite."""
    grad = grad_loss.to(saved.nll.dtype)
    if saved.reduction == "mean":
        grad = grad / (saved.labels.clamp(min=1) * len(saved.labels))
    impossible = saved.nll == inf
    grad = torch.where(impossible, 0 if saved.zero_infinity else nan, grad)
    return torch.where(saved.nll.isnan(), nan, grad)  # a NaN in x reaches the whole sample


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


ctc_loss_function = operation(forward, backward, precision=float32_on("cpu", "cuda"))


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Return the negative log-likelihood of the targets, summed over their alignments.

    log_probs [T, N, K] or [T, K]; targets [N, labels], padded at will, or all of them one after
    the other [sum of target_lengths]; lengths [N], integers as tensors or tuples. Lengths that can
    be read without waiting for a device are checked, and tell the longest target: targets in one
    row with lengths on a GPU cost work and memory as if any of them could fill the row. Raises
    ValueError for shapes, lengths or options that do not fit together.
    """
    checked_reduction(reduction)
    unbatched = log_probs.dim() == 2
    x = log_probs.unsqueeze(1) if unbatched else log_probs
    if x.dim() != 3 or x.numel() == 0:
        raise ValueError(
            f"log_probs has shape {list(log_probs.shape)}, expected [T, N, K] or [T, K], not empty"
        )
    T, N, K = x.shape
    if not 0 <= blank < K:
        raise ValueError(f"blank is {blank}, expected 0 to {K - 1}, one of log_probs' classes")
    if targets.is_floating_point() and targets.numel() > 0:
        raise ValueError(f"targets have dtype {targets.dtype}, expected classes, integers")
    frames = _lengths("input_lengths", input_lengths, N, T, x.device)
    bound = targets.shape[-1] if targets.dim() else 0
    labels = _lengths("target_lengths", target_lengths, N, bound, x.device)
    z = with_blanks(_padded(targets.to(x.device), labels, target_lengths), labels, blank)
    loss = ctc_loss_function(x, z, frames, labels, reduction, zero_infinity)
    return loss.squeeze(0) if unbatched and reduction == "none" else loss


def with_blanks(targets: Tensor, labels: Tensor, blank: int) -> Tensor:
    """Return z [N, 2 (longest target) + 1] of padded targets; blanks fill what is padding."""
    N, longest = targets.shape
    is_label = torch.arange(longest, device=targets.device) < labels.unsqueeze(1)
    z = torch.full((N, 2 * longest + 1), blank, device=targets.device)
    z[:, 1::2] = torch.where(is_label, targets, blank)
    return z


def _padded(targets: Tensor, labels: Tensor, given: Lengths) -> Tensor:
    """Return targets [N, longest] from rows that are padded, or from one row of them all."""
    N = len(labels)
    known = _known(given)
    longest = targets.shape[-1] if known is None else max(known)
    if targets.dim() == 2 and len(targets) == N:
        return targets[:, :longest]
    if targets.dim() != 1 or (known is not None and sum(known) != len(targets)):
        raise ValueError(
            f"targets has shape {list(targets.shape)}, expected [{N}, labels] or [sum of "
            f"target_lengths{'' if known is None else f', {sum(known)}'}]"
        )
    starts = labels.cumsum(0) - labels
    places = starts.unsqueeze(1) + torch.arange(longest, device=targets.device)
    if len(targets) == 0:
        return targets.expand(N, 0)
    return targets[places.clamp(max=len(targets) - 1)]  # what is past a target's end is padding


def _lengths(name: str, given: Lengths, N: int, most: int, device: torch.device) -> Tensor:
    """Return the lengths [N], or raise ValueError where they are wrong and can be read."""
    lengths = given if isinstance(given, Tensor) else torch.tensor(given, dtype=torch.int64)
    if lengths.is_floating_point() or lengths.numel() != N or lengths.dim() > 1:
        raise ValueError(
            f"{name} has shape {list(lengths.shape)} and dtype {lengths.dtype}, expected {N} "
            "integers, one for a sample"
        )
    known = _known(given)
    if known is not None and any(not 0 <= each <= most for each in known):
        raise ValueError(f"{name} is {known}, expected each from 0 to {most}")
    return lengths.reshape(N).to(device, torch.int64)


def _known(lengths: Lengths) -> list[int] | None:
    """Return the lengths as numbers, or None where reading them would break up a graph or wait."""
    if not isinstance(lengths, Tensor):
        return list(lengths)
    if torch.compiler.is_compiling() or lengths.device.type != "cpu":
        return None
    return [int(each) for each in lengths.reshape(-1).tolist()]
