"""The state that a language model carries from window to window is restored in a resumed run."""

from collections.abc import Iterable
from itertools import chain

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import cross_entropy

from bptrain.data.batches import Batch
from bptrain.data.text.text_stream import TextStream
from bptrain.errors import CheckpointError
from bptrain.models.recurrent import LanguageModel
from bptrain.models.rnn import RNNConfig
from bptrain.problem import Problem
from bptrain.rundir.training_state import TrainingState, put_together
from bptrain.train.states import OptimizerState

TEXT = Problem("language_model", (5,), 11, 11, is_sequence=True)
NAMES = {"rnn": {"h"}, "gru": {"h"}, "lstm": {"h", "c"}}
CELLS = pytest.mark.parametrize("cell", NAMES)
BATCHES = TextStream(torch.arange(200) % 11, 5, "a text", "character").serve(4, seed=1)


def built(cell: str, seed: int = 0) -> tuple[LanguageModel, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = RNNConfig(cell=cell, hidden=6, layers=2).build(TEXT, "cpu")
    assert isinstance(model, LanguageModel)
    return model, torch.optim.Adam(model.parameters(), lr=0.05)


def train_on(
    model: LanguageModel, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]
) -> list[Tensor]:
    """Train and return the losses."""
    losses = []
    for inputs, (targets,), *_ in batches:
        loss = cross_entropy(model(*inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


@CELLS
def test_a_run_stopped_in_mid_epoch_and_rebuilt_resumes_bit_for_bit(cell: str) -> None:
    whole_model, optimizer = built(cell)
    whole = train_on(whole_model, optimizer, chain(BATCHES.epoch(0), BATCHES.epoch(1)))

    stopped, optimizer = built(cell)
    stop = len(BATCHES) + 5
    first = list(chain(BATCHES.epoch(0), BATCHES.epoch(1)))[:stop]
    losses = train_on(stopped, optimizer, first)
    plain, tensors = TrainingState(0, {"optimizer": OptimizerState(optimizer).state()}).rest()
    carried, weights, moments = map(save, (stopped.carried_state(), stopped.state_dict(), tensors))

    resumed, optimizer = built(cell, seed=9)
    resumed.load_state_dict(load(weights))
    OptimizerState(optimizer).restore(put_together(plain, load(moments))["optimizer"])
    resumed.carry_on(load(carried))
    losses += train_on(resumed, optimizer, BATCHES.epoch(1, 5))

    assert torch.stack(losses).equal(torch.stack(whole))
    for ours, theirs in zip(resumed.parameters(), whole_model.parameters(), strict=True):
        assert ours.equal(theirs)
    for name, tensor in whole_model.carried_state().items():
        assert resumed.carried_state()[name].equal(tensor)


@CELLS
def test_only_the_training_state_is_saved(cell: str) -> None:
    model, _ = built(cell)
    assert model.carried_state() == {}
    tokens = torch.arange(8).view(2, 4)
    model.eval()
    model(tokens)
    assert model.carried_state() == {}
    model.train()
    model(tokens)
    before = {name: tensor.clone() for name, tensor in model.carried_state().items()}
    assert set(before) == NAMES[cell]
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in before.values())
    model.eval()
    model(tokens, False)
    for name, tensor in model.carried_state().items():
        assert tensor.equal(before[name])


@CELLS
def test_a_checkpoint_without_a_state_clears_it(cell: str) -> None:
    model, _ = built(cell)
    tokens = torch.arange(8).view(2, 4)
    begun = model(tokens, True)
    assert not model(tokens, False).equal(begun)
    model.carry_on({})
    assert model(tokens, False).equal(begun)


def test_a_state_of_another_cell_is_refused() -> None:
    (lstm, _), (gru, _) = built("lstm"), built("gru")
    tokens = torch.arange(8).view(2, 4)
    lstm(tokens)
    gru(tokens)
    with pytest.raises(CheckpointError, match=r"holds c, h[\s\S]*gru carries h\b"):
        gru.carry_on(lstm.carried_state())
    with pytest.raises(CheckpointError, match=r"holds h\n[\s\S]*lstm carries h and c"):
        lstm.carry_on(gru.carried_state())
