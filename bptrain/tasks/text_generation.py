"""Text from a trained language model: each token is drawn, then read as the next input."""

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
                 continues from the state of its last call, so that a step reads one token only
    temperature  the logits are divided by it: below 1 likely tokens become likelier; at 0 the
                 most likely token is taken
    generator    on the CPU, so that every device draws the same; None draws from torch's own

    The model's mode is left as found. Raises NonFiniteError if its outputs are not finite.
    """
    if not (isfinite(temperature) and temperature >= 0):
        raise UsageError(f"temperature {temperature}: expected a number of at least 0")
    was_training = model.training
    model.eval()
    # all random numbers in one copy to the device, so that no step waits for the host
    chances = torch.rand(count, len(tokens), 1, generator=generator, dtype=torch.float64)
    tokens_drawn: list[Tensor] = []
    finite = torch.ones((), dtype=torch.bool, device=tokens.device)
    latest, starts = tokens, True
    for chance in chances.to(tokens.device):
        logits = model(latest, starts)[:, -1].double()
        finite &= logits.isfinite().all()
        latest, starts = draw_token(logits, chance, temperature), False
        tokens_drawn.append(latest)
    model.train(was_training)
    if not finite:
        raise NonFiniteError(
            "the model's outputs are not finite",
            "its weights have grown too far",
            "an earlier checkpoint",
        )
    return torch.cat(tokens_drawn, dim=1) if tokens_drawn else tokens[:, :0]


def draw_token(logits: Tensor, chance: Tensor, temperature: float) -> Tensor:
    """Return a token [N, 1] for logits [N, V] and `chance` [N, 1], uniform in [0, 1).

    The token is the first whose probability, added to those before, exceeds the chance.
    """
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    # the largest logit is subtracted first: 1 / temperature may be large enough to overflow
    shifted = (logits - logits.amax(-1, keepdim=True)) / temperature
    sums = shifted.softmax(-1).cumsum(-1)
    # <=: a token of probability 0 is never drawn; the sum may round to less than a chance below 1
    return (sums <= chance).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
