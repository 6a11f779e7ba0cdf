"""The bytes that entries are said to keep are those that a run holds between its two passes."""

import pytest
from networks import NETWORKS
from torch import Tensor
from torch.utils._pytree import tree_leaves

from bptrain.tape import record
from bptrain.tape.batch import Batch, tensors_of
from bptrain.tape.kept_bytes import measure_kept_bytes


@pytest.mark.parametrize("kind", ["none", "blocks", "sqrt"])
@pytest.mark.parametrize("name", ["mlp, batch norm, dropout", "cnn", "resnet", "layers"])
def test_the_sum_is_what_a_run_holds(name: str, kind: str) -> None:
    model, loss, inputs, targets = NETWORKS[name]()
    step = record(model, loss, checkpointing=kind)
    run = step.begin(inputs, targets)
    run.forward()
    run.loss()
    (program,) = step._programs.values()
    held = [each for each in tree_leaves(run.saved) if isinstance(each, Tensor)]
    there = {id(each) for each in program.fixed.values()}
    storages = {
        each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
        for each in held
        if id(each) not in there
    }
    measure_kept_bytes(program, tensors_of(Batch(inputs, targets)))
    said = [each.keeps for each in program.entries if hasattr(each, "keeps")]
    assert sum(said) == sum(storages.values())


@pytest.mark.parametrize("name", ["resnet", "layers", "lstm, two layers"])
def test_a_record_that_keeps_nothing_counts_the_same(name: str) -> None:
    model, loss, inputs, targets = NETWORKS[name]()
    batch = Batch(inputs, targets)
    said = []
    for kind in ("none", "sqrt"):  # with segments, nothing is kept while recording
        step = record(model, loss, checkpointing=kind)
        step._watch()
        said.append([getattr(each, "keeps", 0) for each in step._record(batch).program.entries])
    assert said[0] == said[1]
    assert sum(said[0]) > 0
