"""The steps of a layer alone, as the table of layers times them. No time is asserted."""

import pytest
import torch

from bptrain.bench import layer_steps as module
from bptrain.bench.layer_steps import Fed, layer_steps
from bptrain.bench.saved_bytes import Layer
from bptrain.errors import UsageError

SMALL = {
    "Linear": Layer("Linear", {"in_features": 3, "out_features": 2}, ((4, 3),)),
    "LSTM": Layer("LSTM", {"input_size": 3, "hidden_size": 2}, ((4, 2, 3),)),
    "Embedding": Layer(
        "Embedding", {"num_embeddings": 5, "embedding_dim": 2}, (lambda: torch.arange(4),)
    ),
    "MSELoss": Layer("MSELoss", {}, ((4, 3), lambda: torch.randn(4, 3))),
}


@pytest.mark.parametrize("name", SMALL)
def test_every_alternative_computes_the_same_gradients(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Fed] = []

    class Kept(Fed):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(module, "Fed", Kept)
    steps, why = layer_steps(SMALL[name])
    assert ([*steps], why) == (["torch.nn", "autograd", "tape"], "")
    for step in steps.values():
        step()
    first, *others = [dict(each.named_parameters()) for each in made]
    assert first
    for each in others:
        for parameter, value in first.items():
            torch.testing.assert_close(each[parameter].grad, value.grad)


def test_what_does_not_run_on_the_tape_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> object:
        raise UsageError("the step does not run so", "a reason")

    monkeypatch.setitem(module.ENGINES, "tape", refused)
    steps, why = layer_steps(SMALL["Linear"])
    assert ([*steps], why) == (["torch.nn", "autograd"], "a reason")
