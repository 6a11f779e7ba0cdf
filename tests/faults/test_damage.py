"""Files of a run that are damaged, forged or replaced, met by the commands.

The newest checkpoint's files are cut short at 64 places each, 200 bits of them are flipped, and
malicious files are put in their place (pickles, headers that lie, links, pipes, paths that lead
elsewhere). `fit --resume` must name the checkpoint that it passes over, fall back to the one
before it and end as the golden run; `evaluate` and `predict` must end with exit code 4. Then states
are forged whose checksums agree: every value of `state.json` and every tensor of a kind in turn, by
what it must not be. That must be exit code 4, or be taken for what it could have been. Last, each
file and folder of a run is damaged or replaced by a link, a pipe or a folder. All of it is done
under an audit hook: nothing may be imported or started that a sound run does not, nothing be
written outside of the run's folder, and nothing be waited for without end.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from golden_runs import Goldens, Run, difference, fresh, wrong_words
from hostile_states import forgeries
from launcher import Launcher
from malicious_checkpoints import HARMS
from PIL import Image

from bptrain.rundir.checkpoint import list_checkpoints

Tally = Callable[..., None]
Harm = Callable[[Path], object]

EVERY = pytest.mark.faults  # not by default
SHORT = "train.steps=8"
FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
CUTS, FLIPS = 64, 200
COMMANDS = ("resume", "evaluate", "predict")
IMAGES = ("cnn", SHORT, "train.early_stopping={patience: 5}")
TEXTS = ("lstm", SHORT, "train.bptt=8")
MUON = ("mlp", SHORT, "optimizer={kind: muon, lr: 0.02}")
SEARCH = ("mlp", SHORT, "optimizer={kind: lbfgs, iterations: 3, lr: 0.5}")
INPUTS = {"cnn": ("picture.png",), "mlp": ("picture.png",), "lstm": ("round", "--length", 5)}
IN_FULL = [False, pytest.param(True, marks=EVERY)]

# forged values that a run may have had: whoever can write checksums can write these
PLAUSIBLE = re.compile(
    # the checkpoint is passed over: it is not in the form of one, or its name says another step
    r"(step|states|metrics(/val/loss)?) is .*|.* is a tensor that is not there|tensor .* is missing"
    r"|states/(precision|early_stopping(/best)?) is .*"
    r"|states/schedule(/best)? is (missing|null|.* zero|a fraction|2\^70|10\^300)"
    r"|states/log/(step|elapsed_s|metrics|board/.*) is (a fraction|2\^70|10\^300|missing)"
    r"|states/(log/board|optimizer|carried|window) is a mapping"
    r"|states/optimizer/0(/al)? is missing"
    r"|states/(average/updates|early_stopping/waited|schedule/bad) is 2\^70"
    r"|states/schedule/share is a fraction"
    r"|states/optimizer/0/(func_evals|n_iter) is 2\^70"
    r"|states/optimizer/0/(t|prev_loss|H_diag) is (a fraction|2\^70|10\^300|.* zero)"
    r"|tensor optimizer/\d/.+ is (infinite|a scalar)"
    r"|tensor optimizer/0/al/\d is .*"  # LBFGS writes it anew before it reads it
    r"|tensor window/.+ is (of float64|of float16|turned|flat|infinite|not a number)"
    r"|weight .+ is infinite"
)


@dataclass
class Victims:
    """Runs that are killed after their seventh step, and what commands do with sound ones."""

    launcher: Launcher
    goldens: Goldens
    usual: dict[tuple[object, ...], set[str]] = field(default_factory=dict)

    def stopped(self, kind: tuple[str, ...]) -> Run:
        """Return the run of a kind that the others are copies of."""
        name = "".join(letter for letter in "-".join(kind) if letter.isalnum())
        run = Run(self.launcher, self.goldens.folder / f"stopped-{name}", kind[0], kind[1:])
        if not run.run_dir.exists():
            Image.new("L", (8, 8), 255).save(run.folder / "picture.png")
            assert run.go("kill_plants:kill_after_step", 7)[0] == -9
            assert len(list_checkpoints(run.checkpoints)) >= 2
        return run

    def copy(self, kind: tuple[str, ...], room: Path, name: object) -> Run:
        """Return a copy, what is left of others in the room removed."""
        run = fresh(self.launcher, room, name, *kind)
        shutil.copytree(self.stopped(kind).folder, run.folder, dirs_exist_ok=True)
        return run

    def command(self, run: Run, command: str) -> tuple[int, str, set[str]]:
        """Return exit code, stderr and what it did besides reading and writing in its folder."""
        if command == "resume":
            words = run.words(resume=True)
        elif command == "evaluate":
            words = ["evaluate", "run", "--checkpoint", "last"]
        else:
            words = ["predict", "run", *INPUTS[run.kind], "--checkpoint", "last"]
        report = run.folder / "audit"
        report.unlink(missing_ok=True)
        plant = ("audit_plants:watch", [str(report)])
        code, said = self.launcher.run(words, run.folder, *plant)
        return code, said, set(json.loads(report.read_text())) if code >= 0 else set()

    def unusual(self, run: Run, command: str, did: set[str]) -> str:
        """Return what a command did that it does not do with a sound or a cut checkpoint."""
        key = (run.kind, *run.changes, command)
        if key not in self.usual:
            self.usual[key] = set()
            for harm in (lambda _: None, lambda file: os.truncate(file, 10)):
                sound = self.copy((run.kind, *run.changes), run.folder.parent / "usual", command)
                harm(list_checkpoints(sound.checkpoints)[-1] / FILES[0])
                self.usual[key] |= self.command(sound, command)[2]
        return ", ".join(sorted(did - self.usual[key]))


@pytest.fixture(scope="module")
def victims(launcher: Launcher, goldens: Goldens) -> Victims:
    """Return runs to be hurt."""
    return Victims(launcher, goldens)


def wrong_refusal(victims: Victims, run: Run, command: str, codes: Sequence[int] = (4,)) -> str:
    """Run a command that is to fail; return what is wrong with how it ends."""
    code, said, did = victims.command(run, command)
    if code not in codes:
        return f"{command}: exit {code}: {said}"
    if unusual := victims.unusual(run, command, did):
        return f"{command}: it did {unusual}"
    return wrong_words(said) if code else ""


def wrong_fall_back(victims: Victims, run: Run, golden: Path) -> str:
    """Go on with a run whose newest checkpoint is damaged; return what is wrong with its end."""
    newest = list_checkpoints(run.checkpoints)[-1].name
    code, said, did = victims.command(run, "resume")
    told = (run.folder / "stdout.txt").read_text()
    if code:
        return f"resume: exit {code}: {said}"
    if f"passed over: run/checkpoints/{newest}" not in told:
        return f"it does not say what it passes over: {told}"
    if unusual := victims.unusual(run, "resume", did):
        return f"resume: it did {unusual}"
    for name in ("outside", "elsewhere"):  # where harms put what they link to
        path = run.run_dir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return difference(golden, run.run_dir)


def damages(content: bytes, in_full: bool) -> Iterator[tuple[str, bytes]]:
    """Yield what a file is damaged to, and in words."""
    random = Random(len(content))
    for part in range(CUTS) if in_full else (CUTS // 2,):
        yield f"cut at {part} of {CUTS}", content[: len(content) * part // CUTS]
    for bit in random.sample(range(8 * len(content)), FLIPS // len(FILES) if in_full else 1):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(flipped)


@pytest.mark.parametrize("in_full", IN_FULL)
@pytest.mark.parametrize("name", FILES)
def test_damage_to_the_newest_checkpoint_is_found_and_the_one_before_it_taken(
    victims: Victims, goldens: Goldens, room: Path, tally: Tally, name: str, in_full: bool
) -> None:
    found, golden = [], goldens.of(*IMAGES)
    newest = list_checkpoints(victims.stopped(IMAGES).checkpoints)[-1].name
    content = (victims.stopped(IMAGES).checkpoints / newest / name).read_bytes()
    for number, (what, damaged) in enumerate(damages(content, in_full)):
        run = victims.copy(IMAGES, room, number)
        (run.checkpoints / newest / name).write_bytes(damaged)
        wrong = wrong_refusal(victims, run, "evaluate") or wrong_refusal(victims, run, "predict")
        wrong = wrong or wrong_fall_back(victims, run, golden.run_dir)
        found += [f"{name} {what}: {wrong}"] * bool(wrong)
        tally(f"{name} {'cut short' if 'cut' in what else 'with a bit flipped'}", wrong)
    assert found == []


def test_where_no_checkpoint_is_sound_every_command_says_so(
    victims: Victims, room: Path, tally: Tally
) -> None:
    for name in FILES:
        run = victims.copy(IMAGES, room, name)
        for path in list_checkpoints(run.checkpoints):
            os.truncate(path / name, 100)
        for command in COMMANDS:
            wrong = wrong_refusal(victims, run, command)
            tally("all checkpoints damaged", wrong)
            assert not wrong


def chosen(names: Sequence[str], by_default: int) -> list[object]:
    """Return parameters of a test, every n-th of which is tried by default."""
    return [
        pytest.param(name, marks=EVERY if number % by_default else ())
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("name", chosen(list(HARMS), 12))
def test_a_malicious_checkpoint_is_passed_over_and_does_nothing(
    victims: Victims, goldens: Goldens, room: Path, tally: Tally, name: str
) -> None:
    run, golden = victims.copy(IMAGES, room, "harmed"), goldens.of(*IMAGES)
    HARMS[name](list_checkpoints(run.checkpoints)[-1])
    wrong = wrong_refusal(victims, run, "evaluate") or wrong_refusal(victims, run, "predict")
    wrong = wrong or wrong_fall_back(victims, run, golden.run_dir)
    wrong = wrong or "it ran" * (run.folder / "bptrain-was-here").exists()
    tally("malicious files in a checkpoint", wrong)
    assert not wrong


def expected_codes(name: str, command: str) -> tuple[int, ...]:
    """Return the exit codes that a forged state may lead to."""
    if command != "resume":  # of the state they need the weights alone
        return (0, 3, 4, 6)
    if name.startswith("states/progress/samples is"):
        return 3, 4  # as for other data, which it is told from by this number
    if name.endswith(("not a number", "infinite")):
        return (0, 4, 6) if PLAUSIBLE.fullmatch(name) else (4, 6)
    return (0, 4) if PLAUSIBLE.fullmatch(name) else (4,)


@pytest.mark.parametrize("in_full", IN_FULL)
@pytest.mark.parametrize(
    "kind", [IMAGES, TEXTS, MUON, SEARCH], ids=["cnn", "lstm", "muon", "lbfgs"]
)
def test_a_forged_state_with_checksums_that_agree_is_refused_or_plausible(
    victims: Victims, room: Path, tally: Tally, kind: tuple[str, ...], in_full: bool
) -> None:
    found = []
    sound = list_checkpoints(victims.stopped(kind).checkpoints)[-1]
    forged = list(forgeries(sound).items())
    assert len(forged) > 200
    for number, (name, forge) in enumerate(forged if in_full else forged[7 :: len(forged) // 4]):
        run = victims.copy(kind, room, number)
        forge(run.checkpoints / sound.name)
        reads = name.startswith(("states is", "states/average", "weight", "tensor average"))
        wrong = ""
        for command in COMMANDS[::-1] if reads else COMMANDS[:1]:
            codes = expected_codes(name, command)
            wrong = wrong or wrong_refusal(victims, run, command, codes)
        found += [f"{name}: {wrong}"] * bool(wrong)
        tally("states forged with checksums that agree", f"{name}: {wrong}" * bool(wrong))
    assert found == []


def in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def link_to_a_copy(path: Path) -> None:
    outside = next(each for each in path.parents if each.name == "run").parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)


def instead(make: Callable[[Path], object]) -> Harm:
    """Return what removes a file or folder, and makes something else in its place."""

    def harm(path: Path) -> None:
        remove(path)
        make(path)

    return harm


FOR_ALL: dict[str, Harm] = {
    "missing": remove,
    "a link to a copy elsewhere": link_to_a_copy,
    "a link that leads nowhere": instead(lambda path: path.symlink_to(path.parent / "nowhere")),
    "a pipe": instead(os.mkfifo),
}
FOR_FILES: dict[str, Harm] = {
    "cut in half": in_half,
    "empty": lambda path: os.truncate(path, 0),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "a tebibyte": lambda path: os.truncate(path, 2**40),
    "a folder": instead(Path.mkdir),
    **FOR_ALL,
}
FOR_FOLDERS: dict[str, Harm] = {"a file": instead(Path.touch), **FOR_ALL}
PLACES = {
    "config.yaml": FOR_FILES,
    "environment.json": FOR_FILES,
    "error.log": FOR_FILES,
    "lock": FOR_FILES,
    "metrics.jsonl": FOR_FILES,
    "prepared.json": FOR_FILES,
    "tensorboard/events.out.tfevents.*": FOR_FILES,
    "checkpoints": FOR_FOLDERS,
    "tensorboard": FOR_FOLDERS,
    "pictures": FOR_FOLDERS,
    "pictures/step-*": FOR_FOLDERS,
    "pictures/step-*/confusion.png": FOR_FILES,
}
FOLLOWED = ("checkpoints", "a link to a copy elsewhere")  # a folder on another disk is usual
REPLACED = [(place, how) for place, harms in PLACES.items() for how in harms]


def seen(path: Path) -> dict[str, bytes]:
    """Return a file's content, or a folder's files, as they are elsewhere."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return {str(each): each.read_bytes() for each in files if each.is_file()}


@pytest.mark.parametrize(
    ("place", "how"),
    [
        pytest.param(place, how, marks=EVERY if number % 20 else ())
        for number, (place, how) in enumerate(REPLACED)
    ],
)
def test_whatever_stands_in_a_runs_folder_is_told_or_borne(
    victims: Victims, goldens: Goldens, room: Path, tally: Tally, place: str, how: str
) -> None:
    golden = goldens.of(*IMAGES)
    for command in COMMANDS:
        run = victims.copy(IMAGES, room, command)
        if place.startswith("pictures"):  # which a run has when it has ended
            shutil.copytree(golden.run_dir, run.run_dir, dirs_exist_ok=True)
        (run.run_dir / "error.log").write_text("of a failure before")
        PLACES[place][how](next(run.run_dir.glob(place)))
        before = seen(run.folder / "outside")
        if (place, how) == FOLLOWED:
            code, told, _ = victims.command(run, command)
            tally("checkpoints/ replaced by a link to a folder", told * bool(code))
            assert code == 0, told
            continue
        wrong = wrong_refusal(victims, run, command, (0, 2, 4, 5))
        if seen(run.folder / "outside") != before or list(run.folder.rglob("nowhere")):
            wrong = wrong or f"{command}: it wrote elsewhere"
        tally(f"{place.partition('.out')[0]} replaced or damaged", f"{how}: {wrong}" * bool(wrong))
        assert not wrong
