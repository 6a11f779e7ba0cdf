"""Memory that is used up.

A run may have so and so much more address space (RLIMIT_AS) than it has when it begins, when its
model is built, after its second step, when it evaluates, saves, or judges its best state: from
nothing to more than it needs. It must end with exit code 7, never by a signal or as a bug.
`evaluate` and `predict` too.
"""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from golden_runs import Goldens, Run, difference, wrong_words
from launcher import Launcher
from PIL import Image

from bptrain.errors import CheckpointError, MemoryExhaustedError, StorageError
from bptrain.rundir.checkpoint import list_checkpoints, read_checkpoint
from bptrain.rundir.durable_files import storing
from bptrain.train.memory import allocating

Tally = Callable[..., None]

EVERY = pytest.mark.faults  # not by default
SHORT = "train.steps=8"
KINDS = {
    "mlp": ("mlp", SHORT, "model={kind: mlp, hidden: [2048, 512]}", "checkpoint.every_steps=2"),
    "cnn": ("cnn", SHORT),
    "lstm": ("lstm", SHORT, "model.hidden=256"),
}
PLACES: dict[str, tuple[object, ...]] = {
    "when it begins": (),
    "when its model is built": ("bptrain.experiment.training:build", 1),
    "after its second step": ("bptrain.train.update:Update.__call__", 3),
    "when it evaluates": ("bptrain.experiment.session:Session.evaluate", 1),
    "when it saves": ("bptrain.experiment.session:Session.save", 2),
    "when it judges its best state": ("bptrain.experiment.training:evaluate_state", 1),
}
SPARE_KB = (0, 50, 200, 500, 1000, 2000, 3000, 4000, 6000, 8000, 10_000, 13_000, 16_000)
SPARE_KB += (20_000, 25_000, 32_000, 40_000, 50_000)
BY_DEFAULT = {  # kB
    "when it begins": (0, 1000),
    "when its model is built": (8000,),
    "after its second step": (0, 6000),
    "when it evaluates": (200,),
    "when it saves": (6000,),
    "when it judges its best state": (8000,),
}


def wrong_end(run: Run, golden: Path, kept_as_golden: bool = True) -> str:
    """Return what is wrong with what a run leaves that had too little memory, and has enough."""
    for path in list_checkpoints(run.checkpoints):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            return f"{path.name} is no checkpoint: {error.what}"
    if list(run.checkpoints.glob(".unfinished-*")):
        return "an unfinished checkpoint is left"
    (run.run_dir / "error.log").unlink(missing_ok=True)
    return run.wrong_end(golden, kept_as_golden)


def tried() -> list[object]:
    """Return the kinds of runs, the places and the amounts; a few are tried by default."""
    return [
        pytest.param(kind, place, spare, marks=() if by_default else EVERY)
        for kind in KINDS
        for place in PLACES
        for spare in SPARE_KB
        for by_default in [kind == "mlp" and spare in BY_DEFAULT[place]]
    ]


@pytest.mark.parametrize(("kind", "place", "spare_kb"), tried())
def test_a_run_without_memory_says_so_and_goes_on_when_there_is_some(
    launcher: Launcher,
    goldens: Goldens,
    room: Path,
    tally: Tally,
    kind: str,
    place: str,
    spare_kb: int,
) -> None:
    golden, run = goldens.of(*KINDS[kind]), Run(launcher, room / "run", kind, KINDS[kind][1:])
    code, said = run.go("memory_plants:limit", spare_kb * 1000, *PLACES[place])
    if code == 0:  # it was enough
        wrong = difference(golden.run_dir, run.run_dir)
    elif code == 7 and "out of memory" in said:
        wrong = wrong_words(said) or wrong_end(run, golden.run_dir)
    else:
        wrong = f"exit {code}: {said}"
    tally(f"{kind}: too little memory {place}", f"{spare_kb} kB: {wrong}" * bool(wrong))
    assert not wrong
    if spare_kb == 0 and place != "when it begins":
        assert code == 7  # else nothing was tried


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize(
    "spare_kb", [pytest.param(each, marks=EVERY if each != 500 else ()) for each in SPARE_KB[:12]]
)
def test_a_command_on_a_run_without_memory_says_so(
    launcher: Launcher, goldens: Goldens, room: Path, tally: Tally, command: str, spare_kb: int
) -> None:
    shutil.copytree(goldens.of(*KINDS["mlp"]).run_dir, room / "run")
    Image.new("L", (8, 8), 255).save(room / "picture.png")
    words = [command, "run", *["picture.png"] * (command == "predict")]
    code, said = launcher.run(words, room, "memory_plants:limit", [spare_kb * 1000])
    wrong = f"exit {code}: {said}" if code not in (0, 7) else wrong_words(said) if code else ""
    tally(f"{command}: too little memory", wrong)
    assert not wrong


CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
REFUSALS = {
    "torch on the CPU": (RuntimeError(f"{CPU}you tried to allocate 4000000 bytes."), "4.0 MB"),
    "C++": (RuntimeError("std::bad_alloc"), "bad_alloc"),
    "Python": (MemoryError(), "no more"),
    "numpy": (MemoryError("Unable to allocate 6.68 MiB for an array"), "6.68 MiB"),
    "CUDA": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), "CUDA"),
    "the system": (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate"),
}


@pytest.mark.parametrize(("refusal", "why"), REFUSALS.values(), ids=REFUSALS)
def test_whoever_refuses_memory_it_is_the_same_error(
    refusal: Exception, why: str, tmp_path: Path
) -> None:
    with pytest.raises(MemoryExhaustedError, match=why) as told, allocating(), storing(tmp_path):
        raise refusal
    assert told.value.exit_code == 7


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), allocating():
        raise RuntimeError("the shapes do not fit")
    with pytest.raises(StorageError, match="full"), allocating(), storing(tmp_path):
        raise OSError(errno.ENOSPC, "full")
