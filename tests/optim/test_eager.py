"""Optimizers that do not import torch's compiler take torch's steps."""

import pytest
import torch

from bptrain.optim.eager import eager

KINDS = [
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "fused": True}),
    (torch.optim.SGD, {"lr": 0.1, "foreach": True}),
    (torch.optim.Adam, {"lr": 0.01, "fused": True}),
    (torch.optim.AdamW, {"lr": 0.01, "foreach": True}),
    (torch.optim.NAdam, {"lr": 0.01, "foreach": True}),
    (torch.optim.RAdam, {"lr": 0.01, "foreach": True}),
    (torch.optim.RMSprop, {"lr": 0.01, "foreach": True}),
    (torch.optim.Adagrad, {"lr": 0.01, "fused": True}),
    (torch.optim.Muon, {"lr": 0.01}),
    (torch.optim.LBFGS, {"lr": 0.1}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_steps_and_states_are_those_of_torch(kind: type, options: dict) -> None:
    ended = []
    for each in (kind, eager(kind)):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(4, 3))
        optimizer = each([weight], **options)
        for _ in range(3):

            def closure(weight: torch.Tensor = weight, optimizer=optimizer) -> torch.Tensor:
                optimizer.zero_grad()
                loss = (weight.tanh() ** 2).sum()
                loss.backward()
                return loss

            optimizer.step(closure)
        again = each([weight], **options)
        again.load_state_dict(optimizer.state_dict())
        again.step(closure)
        ended.append(weight.detach().clone())
    assert torch.equal(*ended)


def test_the_class_has_torchs_name_and_is_made_once() -> None:
    assert eager(torch.optim.SGD).__name__ == "SGD"
    assert eager(torch.optim.SGD) is eager(torch.optim.SGD)
