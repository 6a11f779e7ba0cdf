"""A step that each batch would record anew is left to autograd, where that is wanted."""

from copy import deepcopy

import torch
from networks import NETWORKS, Signed, regression
from test_equal_gradients import trained

from bptrain.tape import Autograd, Notices, Step


def test_a_step_that_is_recorded_for_each_batch_runs_by_autograd() -> None:
    torch.manual_seed(0)
    network, said = regression(Signed(), 5), []
    autograd = Autograd(deepcopy(network.model), deepcopy(network.loss))
    step = Step(network.model, network.loss, Notices(said.append), records_again=False)
    ours, reference = trained(step, network), trained(autograd, network)
    assert said == step.reasons == ["each batch would be recorded anew, which takes longer"]
    assert len(step.recorded) == 1  # for a picture of the graph
    for one, other in zip(ours, reference, strict=True):
        assert torch.equal(one, other)


def test_other_steps_stay_on_the_tape() -> None:
    network = NETWORKS["lstm, language model"]()
    step = Step(network.model, network.loss, records_again=False)
    for _ in range(2):
        step(network.inputs, *network.targets)
    assert step.reasons == []
