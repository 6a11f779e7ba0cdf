"""The house's floors, as data: a room imports from lower floors alone."""

import ast
from pathlib import Path

import pytest

import bptrain

PACKAGE = Path(bptrain.__file__).parent
FLOORS = [  # from the bottom up; rooms on one floor are strangers, except where a line says so
    {"__init__", "errors", "free_memory", "problem"},
    {"yaml_tree"},
    {"config", "config_guide"},
    {"ops"},
    {"nn"},
    {"models", "data", "optim", "train", "monitor"},
    {"verify", "bench"},
    {"experiment", "writing"},
    {"saved_run"},
    {"judging"},
    {"session"},
    {"training", "predicting", "overview"},
    {"resuming", "resume_proof", "rehearsal"},
    {"fitting"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ONE_FLOOR_IS_ONE_ROOM = {"config", "config_guide"}  # the strict config and what it tells users
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports_of(path: Path) -> set[str]:
    """Return the bptrain modules a file imports, `from package import module` resolved."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                at = PACKAGE.parent / submodule.replace(".", "/")
                is_module = at.with_suffix(".py").exists() or at.is_dir()
                found.add(submodule if is_module else str(node.module))
    return {name for name in found if name.split(".")[0] == "bptrain"}


def test_every_room_has_a_floor() -> None:
    assert {room_of(module_of(path)) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_run_downwards(path: Path) -> None:
    room = room_of(module_of(path))
    for imported in imports_of(path):
        below = room_of(imported)
        if below == room or {room, below} <= ONE_FLOOR_IS_ONE_ROOM:
            continue
        allowed = FLOOR[below] < FLOOR[room]
        assert allowed, f"{module_of(path)} imports {imported}, which is not on a lower floor"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_file_imports_its_own_package(path: Path) -> None:
    if path.name != "__init__.py":
        own = module_of(path).rpartition(".")[0]
        assert own == "bptrain" or own not in imports_of(path)


def test_there_is_no_cycle() -> None:
    graph = {module_of(path): imports_of(path) for path in FILES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module not in done:
            for imported in graph.get(module, set()):
                visit(imported, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_only_models_and_what_is_above_know_nn() -> None:
    users = {room_of(module_of(p)) for p in FILES if any("bptrain.nn" in i for i in imports_of(p))}
    assert users <= {"nn", "models", "verify", "bench"}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_stay_short_enough_to_read(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 50, node.name


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_that_can_run_code_from_a_file_is_called(path: Path) -> None:
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib"}
    assert not {i for i in imports_of_any(path) if i.split(".")[0] in forbidden}
    calls = {
        ast.unparse(n.func)
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call)
    }
    assert not calls & {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load", "np.load"}


def imports_of_any(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    return plain | {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}
