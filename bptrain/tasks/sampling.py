"""Text from a trained language model: the next token is drawn, read, and followed by another."""

from math import isfinite

import torch
from torch import Tensor, nn

from bptrain.errors import NonFiniteError, UsageError


@torch.no_grad()
def generate(
    model: nn.Module,
    tokens: Tensor,
    count: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return `count` tokens [N, count] that follow the prompts `tokens` [N, T].

    model        called as model(tokens [N, T], starts) for logits [N, T, V]; unless `starts`, it
                 goes on from the state of its last call, so that a step reads one token alone
    temperature  the logits are divided by it: below 1 the likely becomes likelier; at 0 the
                 likeliest token is taken
    generator    on the CPU, so that every device draws alike; None draws from torch's own

    The model's mode is left as found. Raises NonFiniteError if its outputs are no numbers.
    """
    if not (isfinite(temperature) and temperature >= 0):
        raise UsageError(f"temperature {temperature}: a number from 0 on is expected")
    was_training = model.training
    model.eval()
    # all of chance in one copy to the device: nothing waits for it between two tokens
    chances = torch.rand(count, len(tokens), 1, generator=generator, dtype=torch.float64)
    written: list[Tensor] = []
    finite = torch.ones((), dtype=torch.bool, device=tokens.device)
    latest, starts = tokens, True
    for chance in chances.to(tokens.device):
        logits = model(latest, starts)[:, -1].double()
        finite &= logits.isfinite().all()
        latest, starts = drawn(logits, chance, temperature), False
        written.append(latest)
    model.train(was_training)
    if not finite:
        raise NonFiniteError(
            "the model's outputs are not finite",
            "its weights have grown too far",
            "an earlier checkpoint",
        )
    return torch.cat(written, dim=1) if written else tokens[:, :0]


def drawn(logits: Tensor, chance: Tensor, temperature: float) -> Tensor:
    """Return a token [N, 1] for logits [N, V] and `chance` [N, 1], uniform in [0, 1).

    The token is the first whose probability, added to those before, exceeds the chance.
    """
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    # less the largest first: 1 / temperature may be large enough to overflow
    shifted = (logits - logits.amax(-1, keepdim=True)) / temperature
    sums = shifted.softmax(-1).cumsum(-1)
    # <=: a token of probability 0 is never drawn. The sum may round to less than a chance below 1
    return (sums <= chance).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
