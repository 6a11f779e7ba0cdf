"""Memory exhaustion.

The address space of a run is limited (RLIMIT_AS) to what it uses when it starts, when its model is
built, after its second step, when it evaluates, saves, or evaluates its best state, plus a spare
amount: from nothing to more than it needs. It must end with exit code 7, never by a signal or as a
bug. The same holds for `evaluate` and `predict`.
"""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from launcher import Launcher
from PIL import Image
from reference_runs import ReferenceRuns, Run, difference, message_problem

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
    "when it evaluates its best state": ("bptrain.experiment.training:evaluate_state", 1),
}
SPARE_KB = (0, 50, 200, 500, 1000, 2000, 3000, 4000, 6000, 8000, 10_000, 13_000, 16_000)
SPARE_KB += (20_000, 25_000, 32_000, 40_000, 50_000)
# what a small model needs there may lie in memory that the process has already
MAY_HAVE_ENOUGH = (
    "when it begins",
    "when its model is built",
    "after its second step",
    "when it evaluates its best state",
)
BY_DEFAULT = {  # kB
    "when it begins": (0,),
    "when its model is built": (0, 8000),
    "after its second step": (0,),
    "when it evaluates": (200,),
    "when it saves": (6000,),
    "when it evaluates its best state": (8000,),
}


def problem_after_resume(run: Run, reference: Path, same_checkpoints: bool = True) -> str:
    """Resume, with enough memory, a run that had too little; return what is wrong with it."""
    for path in list_checkpoints(run.checkpoints):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            return f"{path.name} is no checkpoint: {error.what}"
    if list(run.checkpoints.glob(".unfinished-*")):
        return "an unfinished checkpoint is left"
    (run.run_dir / "error.log").unlink(missing_ok=True)
    return run.problem_after_resume(reference, same_checkpoints)


def tried() -> list[object]:
    """Return the kinds of runs, the places and the amounts, and whether the run draws pictures.

    BY_DEFAULT are tried by default, and then only the last place has pictures to draw after it.
    """
    return [
        pytest.param(
            *(kind, place, spare, not by_default or place == "when it evaluates its best state"),
            id=f"{kind}-{place}-{spare}",
            marks=() if by_default else EVERY,
        )
        for kind in KINDS
        for place in PLACES
        for spare in SPARE_KB
        for by_default in [kind == "mlp" and spare in BY_DEFAULT[place]]
    ]


@pytest.mark.parametrize(("kind", "place", "spare_kb", "draws"), tried())
def test_a_run_without_memory_says_so_and_resumes_when_there_is_some(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Tally,
    kind: str,
    place: str,
    spare_kb: int,
    draws: bool,
) -> None:
    reference = reference_runs.of(*KINDS[kind], draws=draws)
    run = Run(launcher, work_dir / "run", kind, KINDS[kind][1:], draws=draws)
    code, stderr = run.go("memory_faults:limit", spare_kb * 1000, *PLACES[place])
    if code == 0:  # the memory was enough
        wrong = difference(reference.run_dir, run.run_dir)
    elif code == 7 and "out of memory" in stderr:
        wrong = message_problem(stderr) or problem_after_resume(run, reference.run_dir)
    else:
        wrong = f"exit {code}: {stderr}"
    tally(f"{kind}: too little memory {place}", f"{spare_kb} kB: {wrong}" * bool(wrong))
    assert not wrong
    if spare_kb == 0 and (kind == "mlp" or place not in MAY_HAVE_ENOUGH):
        assert code == 7  # otherwise the limit had no effect


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize(
    "spare_kb", [pytest.param(each, marks=EVERY if each != 500 else ()) for each in SPARE_KB[:12]]
)
def test_a_command_on_a_run_without_memory_says_so(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Tally,
    command: str,
    spare_kb: int,
) -> None:
    shutil.copytree(reference_runs.of(*KINDS["mlp"]).run_dir, work_dir / "run")
    Image.new("L", (8, 8), 255).save(work_dir / "picture.png")
    words = [command, "run", *["picture.png"] * (command == "predict")]
    code, stderr = launcher.run(words, work_dir, "memory_faults:limit", [spare_kb * 1000])
    wrong = (
        f"exit {code}: {stderr}" if code not in (0, 7) else message_problem(stderr) if code else ""
    )
    tally(f"{command}: too little memory", wrong)
    assert not wrong


CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
REFUSALS = {
    "torch on the CPU": (RuntimeError(f"{CPU}you tried to allocate 4000000 bytes."), "4.0 MB"),
    "C++": (RuntimeError("std::bad_alloc"), "bad_alloc"),
    "oneDNN": (RuntimeError("could not create a primitive"), "could not create"),
    "Python": (MemoryError(), "no free memory"),
    "numpy": (MemoryError("Unable to allocate 6.68 MiB for an array"), "6.68 MiB"),
    "CUDA": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), "CUDA"),
    "the system": (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate"),
}


@pytest.mark.parametrize(("refusal", "why"), REFUSALS.values(), ids=REFUSALS)
def test_every_refusal_of_memory_is_the_same_error(
    refusal: Exception, why: str, tmp_path: Path
) -> None:
    with pytest.raises(MemoryExhaustedError, match=why) as caught, allocating(), storing(tmp_path):
        raise refusal
    assert caught.value.exit_code == 7


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), allocating():
        raise RuntimeError("the shapes do not fit")
    with pytest.raises(RuntimeError, match="descriptor"), allocating():
        raise RuntimeError("could not create a primitive descriptor for the LSTM")
    with pytest.raises(StorageError, match="full"), allocating(), storing(tmp_path):
        raise OSError(errno.ENOSPC, "full")
