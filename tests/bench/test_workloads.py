"""The workloads of docs/benchmarks.md, the table of their results, and the section it is put in."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bptrain import nn
from bptrain.bench import workloads
from bptrain.bench.agreement import refuse_different
from bptrain.bench.engines import ours, torchs
from bptrain.bench.paired import time_in_turns
from bptrain.bench.workload_table import (
    BEGIN,
    END,
    FORMULAS,
    FORMULAS_HEADER,
    HEADER,
    KERNELS,
    formulas_table,
    rows_of,
    table_of,
    write_section,
)
from bptrain.bench.workloads import PLAIN, WORKLOADS, Made, Workload
from bptrain.optim.adam import AdamConfig
from bptrain.train.precision import Precision

FP32 = Precision(torch.float32, torch.device("cpu"))
SMALL = {  # each kind of workload at a size that a test can run
    "mlp": lambda: workloads.mlp(2, (4,)),
    "cnn": lambda: workloads.cnn(1),
    "resnet": lambda: workloads.resnet(2),
    "lstm": lambda: workloads.recurrent(nn.LSTM, 3, 2, (3, 4)),
    "gru": lambda: workloads.recurrent(nn.GRU, 3, 2, (3, 4)),
    "characters": lambda: workloads.characters(3, 2, 5),
    "head": lambda: workloads.head(3, 4, 5),
}


@pytest.mark.parametrize("kind", SMALL)
def test_ours_and_torchs_agree_on_every_kind_of_workload(kind: str) -> None:
    def make() -> Made:
        return SMALL[kind]()

    subject = Workload(kind, make, PLAIN, "").subject(FP32)
    reference, mine = torchs(subject), ours(subject, "autograd")
    assert refuse_different(reference, mine, torch.float32, lambda _: None) < 1e-3


def test_a_workloads_weights_stay_as_they_are() -> None:
    subject = Workload("mlp", SMALL["mlp"], AdamConfig(), "").subject(FP32)
    mine = ours(subject, "autograd")
    before = [each.detach().clone() for each in mine.model.parameters()]
    mine.run()
    assert all(map(torch.equal, before, mine.model.parameters()))


def test_names_say_what_they_are() -> None:
    assert all(name == each.name for name, each in WORKLOADS.items())


def spread(median: float) -> dict[str, float]:
    return {"median": median, "low": median, "high": median}


def process(over_torch: float, over_compiled: float, step_s: float = 0.002) -> dict[str, Any]:
    """Return the results of a process: ours keeps half the bytes of torch.nn."""
    mine = {"name": "bptrain, autograd", "is_ours": True, "kept_bytes": 50, "peak_bytes": 90}
    theirs = {"name": "torch.nn", "is_ours": False, "kept_bytes": 100, "peak_bytes": 100}
    return {
        "name": "a step",
        "precision": "float32",
        "floor": {"products_s": 0.0006, "optimizer_s": 0.0004},
        "alternatives": [
            {**theirs, "step_s": spread(0.001), "over_torch": spread(1.0)},
            {**mine, "step_s": spread(step_s), "over_torch": spread(over_torch)},
        ],
        "ratios": [
            {"ours": mine["name"], "theirs": "torch.nn", "spread": spread(over_torch)},
            {"ours": mine["name"], "theirs": "torch.compile", "spread": spread(over_compiled)},
        ],
    }


def test_the_worst_process_is_shown() -> None:
    (row,) = rows_of([process(0.8, 0.9), process(0.9, 0.7, 0.003), process(0.7, 0.8)])
    assert (row.over_torch, row.step_ms) == (0.9, 3.0)
    assert (row.over_fastest, row.fastest) == (0.9, "torch.nn")
    assert row.over_floor == pytest.approx(3)
    assert (row.kept, row.peak) == (0.5, 0.9)
    table = table_of([row], {"a step": "0.65"})
    assert table == (
        f"{HEADER}\n"
        "| a step | float32 | autograd | 3 | 0.90 | 0.90 (torch.nn) | 3.00 | 0.50 | 0.90 | 0.65 |"
    )


def test_the_formulas_stand_beside_the_kernels_of_their_own_process() -> None:
    def of(formulas_s: float, tape_s: float, compiled_s: float) -> dict[str, Any]:
        made = process(0.8, 0.9)
        times = zip((FORMULAS, *KERNELS), (formulas_s, tape_s, compiled_s), strict=True)
        made["alternatives"] = [{"name": name, "step_s": spread(s)} for name, s in times]
        return made

    table = formulas_table([[of(0.003, 0.002, 0.004), of(0.002, 0.002, 0.001)], [process(1, 1)]])
    assert table == f"{FORMULAS_HEADER}\n| a step | float32 | 3 | 1.50 | 2.00 |"
    assert formulas_table([[process(1, 1)]]) == ""


def test_a_section_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    path.write_text("# Benchmarks\n\n## Else\n", encoding="utf-8")
    write_section(path, "first")
    with path.open("a", encoding="utf-8") as file:
        file.write("\nafter\n")
    write_section(path, "second\n")
    expected = f"# Benchmarks\n\n## Else\n\n{BEGIN}\n\nsecond\n\n{END}\n\nafter\n"
    assert path.read_text(encoding="utf-8") == expected


def test_alternatives_take_turns_in_an_order_that_changes() -> None:
    ran: list[str] = []
    names = ("a", "b", "c")
    work = {name: (lambda name=name: ran.append(name)) for name in names}
    timings = time_in_turns(work, 30, {"a": lambda: ran.append("before a")})
    turns = [ran[start : start + 4] for start in range(0, len(ran), 4)]
    assert len(turns) == 31
    for turn in turns:
        assert sorted(turn) == ["a", "b", "before a", "c"]
        assert turn[turn.index("a") - 1] == "before a"
    assert len({tuple(turn) for turn in turns}) == 6
    assert all(len(timings.seconds[name]) == 30 for name in names)
