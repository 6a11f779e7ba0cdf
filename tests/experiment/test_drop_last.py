"""data.drop_last: training batches of one size, and nothing left out of an evaluation."""

from typing import Any

import pytest
import torch

from bptrain.errors import ConfigKeyError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.failed_step import samples_of
from bptrain.experiment.plan import Plan, plan, serve
from bptrain.train.accumulation import shares
from bptrain.train.loop import Position


def planned(batch_size: int, **keys: Any) -> Plan:
    """Return the plan for XOR with 65 samples, those of validation among them."""
    model = keys.pop("model", {})
    data = {"kind": "xor", "samples": 65, "batch_size": batch_size, "drop_last": True}
    fields = {"data": {**data, **keys.pop("data", {})}, "model": {"kind": "mlp", "hidden": [4]}}
    fields["model"] |= model
    return plan(ExperimentConfig.model_validate({**fields, **keys}))


def samples_in(made: Plan) -> int:
    return len(made.dataset.train)


@pytest.mark.parametrize("sampling", ["shuffled", "balanced"])
def test_all_batches_have_the_same_size_and_epochs_leave_out_others(sampling: str) -> None:
    made = planned(16, data={"sampling": sampling})
    count = samples_in(made)
    assert count % 16
    batches = serve(made.config, made.dataset.train, seed=1)
    whole = [list(batches.epoch(epoch)) for epoch in range(3)]
    assert {batch.weight for epoch in whole for batch in epoch} == {16}
    assert len(batches) == len(whole[0]) == count // 16 == made.steps_per_epoch
    rest = list(batches.epoch(2, start=1))
    pairs = zip(whole[2][1:], rest, strict=True)
    assert all(torch.equal(one.inputs[0], other.inputs[0]) for one, other in pairs)
    seen = [torch.cat([batch.inputs[0] for batch in epoch]).sum().item() for epoch in whole]
    assert len(set(seen)) == 3
    numbers = samples_of(batches, Position(step=2, epoch=2, batch=2), 1)
    assert len(numbers[0]) == 16


def test_an_evaluation_sees_every_sample() -> None:
    made = planned(16)
    batches = list(serve(made.config, made.dataset.train).epoch(0))
    assert sum(batch.weight for batch in batches) == samples_in(made)


def test_batches_that_fill_the_epoch_are_all_there() -> None:
    made = planned(1)
    assert len(serve(made.config, made.dataset.train, seed=1)) == samples_in(made)


def test_accumulated_batches_count_the_same() -> None:
    made = planned(8, train={"grad_accum_steps": 3})
    batches = list(serve(made.config, made.dataset.train, seed=1).epoch(0))
    assert shares(batches[:3]) == [1 / 3] * 3
    assert made.steps_per_epoch == -(-len(batches) // 3)


def test_batch_normalization_is_not_given_a_last_batch_of_one() -> None:
    samples = samples_in(planned(16))
    batch_size = next(size for size in range(2, samples) if samples % size == 1)
    normalized = {"normalization": "batch"}
    with pytest.raises(ConfigKeyError) as error:
        planned(batch_size, model=normalized, data={"drop_last": False})
    assert "data.drop_last: true" in error.value.hint
    planned(batch_size, model=normalized)


def test_no_batch_at_all_is_refused() -> None:
    with pytest.raises(ConfigKeyError, match="it would leave no batch") as error:
        planned(64)
    assert "samples do not fill one of 64" in error.value.why
