"""Generated data: shapes and targets, and that it is a pure function of its seed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bptrain.data.batches import generator_of
from bptrain.data.generated.generated_config import Fresh, GeneratedConfig
from bptrain.data.generated.memory_tasks import AddingConfig, CopyConfig, ParityConfig
from bptrain.data.generated.points import SpiralsConfig, XorConfig
from bptrain.errors import UsageError

KINDS = [XorConfig, SpiralsConfig, AddingConfig, CopyConfig, ParityConfig]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def drawn(config: GeneratedConfig, samples: int = 500) -> Any:
    return config.draw(samples, generator_of(0))


@every_kind
def test_samples_are_a_pure_function_of_the_seed(kind: type[GeneratedConfig]) -> None:
    config = kind(samples=40, test_samples=30, validation_fraction=0.25)
    one = config.build(3)
    torch.manual_seed(99)  # nobody else's random numbers matter
    again, other = config.build(3), config.build(4)
    assert (len(one.train), len(one.validation), len(one.test)) == (30, 10, 30)
    assert one.train.inputs.equal(again.train.inputs)
    assert one.validation.inputs.equal(again.validation.inputs)
    assert not one.train.inputs.equal(other.train.inputs)
    # every run is tested on the same samples, and on none of its own stream
    assert one.test.inputs.equal(other.test.inputs)
    assert not one.test.inputs.equal(one.train.inputs)
    assert not one.test.inputs.equal(config.build(0).train.inputs)


@every_kind
def test_samples_have_the_declared_shapes(kind: type[GeneratedConfig]) -> None:
    problem, samples = kind().problem(), drawn(kind())
    assert samples.inputs.shape == (500, *problem.input_shape)
    assert samples.inputs.dtype == torch.float32
    assert len(problem.names) == problem.outputs
    if problem.task == "regression":
        assert samples.targets.shape == (500, problem.outputs)
    else:
        classes = samples.targets[samples.targets != -100].unique()
        assert classes.tolist() == list(range(problem.outputs))


@every_kind
def test_fresh_samples_are_new_in_every_epoch_and_reproducible(
    kind: type[GeneratedConfig],
) -> None:
    train = kind(samples=30, validation_fraction=0.0, fresh=True).build(7).train

    def served(epoch: int) -> torch.Tensor:
        batches = train.serve(8, seed=7)
        parts = [batch.inputs[0] for batch in batches.epoch(epoch)]
        assert len(parts) == len(batches) == 4
        return torch.cat(parts)

    second = served(1)
    assert not served(0).equal(second)
    assert served(1).equal(second)
    assert len(train) == len(second) == 30
    assert train.bytes >= second.nbytes


def test_fresh_samples_move_with_their_split() -> None:
    train = AddingConfig(samples=30, fresh=True).build(0).train
    assert isinstance(train, Fresh)
    assert train.to(torch.device("meta")).of_epoch(0).inputs.device.type == "meta"


def test_xor_is_1_where_the_signs_differ() -> None:
    samples = drawn(XorConfig(noise=0.0))
    differ = (samples.inputs[:, 0] * samples.inputs[:, 1] < 0).long()
    assert samples.targets.equal(differ)
    assert samples.inputs.abs().unique().tolist() == [1.0]


def test_spirals_have_the_given_turns() -> None:
    samples = drawn(SpiralsConfig(noise=0.0, classes=3, turns=2.0), 2_000)
    radius = samples.inputs.norm(dim=1)
    assert radius.min() >= 0.0999
    assert radius.max() <= 1.0001
    along = (radius - 0.1) / 0.9
    angle = torch.atan2(samples.inputs[:, 1], samples.inputs[:, 0]) / (2 * torch.pi)
    turned = (2.0 * along + samples.targets / 3 - angle) % 1
    assert torch.minimum(turned, 1 - turned).max() < 1e-4


def test_the_marked_numbers_are_added_and_predicting_1_has_an_error_of_a_sixth() -> None:
    samples = drawn(AddingConfig(length=11), 20_000)
    values, markers = samples.inputs.unbind(2)
    assert markers[:, :5].sum(1).unique().tolist() == [1.0]
    assert markers[:, 5:].sum(1).unique().tolist() == [1.0]
    assert samples.targets.squeeze(1).equal((values * markers).sum(1))
    assert (samples.targets - 1).square().mean().item() == pytest.approx(1 / 6, rel=0.02)


def test_symbols_are_to_be_copied_after_the_delay() -> None:
    samples = drawn(CopyConfig(symbols=4, recall=3, delay=2), 50)
    tokens = samples.inputs.argmax(2)
    assert samples.inputs.sum(2).unique().tolist() == [1.0]
    assert (tokens[:, 3:5] == 4).all()
    assert (tokens[:, 5:] == 5).all()
    assert (samples.targets[:, :5] == -100).all()
    assert samples.targets[:, 5:].equal(tokens[:, :3])


def test_parity_is_a_target_at_the_end_or_at_every_step() -> None:
    end, steps = (
        drawn(ParityConfig(length=6, task=task)) for task in ("classification", "tagging")
    )
    ones = (end.inputs.squeeze(2) > 0).long()
    assert end.targets.equal(ones.sum(1) % 2)
    assert steps.targets.equal(ones.cumsum(1) % 2)


@every_kind
def test_a_generated_data_set_has_no_files_to_predict(kind: type[GeneratedConfig]) -> None:
    config = kind()
    with pytest.raises(UsageError, match=rf"data.kind {config.kind} is drawn"):
        config.prepare(["file.csv"], {})


@pytest.mark.parametrize(
    "config",
    [
        AddingConfig(samples=10_000_000, length=100_000),
        CopyConfig(samples=1_000, symbols=1_000, recall=1_000, delay=100_000),
    ],
    ids=["adding", "copy"],
)
def test_more_samples_than_can_be_held_are_refused_before_they_are_drawn(
    config: GeneratedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(config), "draw", None)
    with pytest.raises(UsageError, match=r"too many to hold[\s\S]*fresh"):
        config.build(0)


def test_a_fresh_run_trains_and_a_window_is_refused(bptrain: Callable, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "data: {kind: adding, length: 4, samples: 60, fresh: true, batch_size: 8}\n"
        "model: {kind: mlp, hidden: [4]}\ntrain: {epochs: 2}\n"
    )
    assert bptrain("fit", "c.yaml").exit_code == 0
    result = bptrain("fit", "c.yaml", "train.bptt=2")
    assert result.exit_code == 2
    assert "train.bptt" in result.stderr
