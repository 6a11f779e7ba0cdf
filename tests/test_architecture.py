"""The house's floors, as data: a room imports from lower floors alone."""

import ast
from pathlib import Path

import pytest

import bptrain

PACKAGE = Path(bptrain.__file__).parent
FLOORS = [  # from the bottom up; rooms on one floor are strangers, except where a line says so
    {"__init__", "errors", "free_memory", "problem", "saved_values"},
    {"yaml_tree"},
    {"config", "config_guide"},
    {"ops"},
    {"nn"},
    {"models", "data", "optim", "train", "monitor"},
    {"verify", "bench"},
    {"experiment", "writing"},
    {"saved_run"},
    {"judging"},
    {"non_finite"},
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


RUNS_WHAT_IT_READS = {  # modules and functions for which a file is, or may hold, a program
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"),
    *("runpy", "code", "codeop", "imp", "copyreg", "jsonpickle", "pandas"),
    *("eval", "exec", "compile", "__import__", "builtins", "importlib.import_module"),
    *("importlib.util", "importlib.machinery"),
    *("os.system", "os.popen", "subprocess"),
    *("torch.load", "torch.save", "torch.hub", "torch.jit", "torch.package", "torch.export"),
    *("torch.serialization", "torch.utils.model_zoo"),
    *("numpy.load", "numpy.save", "numpy.savez", "numpy.savez_compressed", "numpy.fromregex"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all"),
    *("yaml.full_load", "yaml.full_load_all", "yaml.Loader", "yaml.CLoader"),
    *("yaml.UnsafeLoader", "yaml.FullLoader", "yaml.CFullLoader", "yaml.CUnsafeLoader"),
    *("yaml.dump", "yaml.Dumper"),  # they write what only those read
}
STARTS_BPTRAIN = {"bptrain.resume_proof"}  # as processes to be killed, by a list of words
KEYWORDS_THAT_RUN = {"allow_pickle", "weights_only"}


def names_used(source: str) -> set[str]:
    """Return all that a file refers to by its full name, however it was imported."""
    tree = ast.parse(source)
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                full[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    used = set(full.values()) | {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            root, dot, rest = ast.unparse(node).partition(".")
            used.add(full.get(root, root) + dot + rest)
    return used


class WithoutSafeLoads(ast.NodeTransformer):
    """Take out the one safe form of numpy's reader: np.load(path, allow_pickle=False)."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        words = [(each.arg, ast.unparse(each.value)) for each in node.keywords]
        is_load = ast.unparse(node.func) == "np.load" and len(node.args) == 1
        if is_load and words == [("allow_pickle", "False")]:
            return node.args[0]
        return self.generic_visit(node)


def what_could_run(source: str) -> set[str]:
    """Return the names and keywords of a file for which data is a program."""
    source = ast.unparse(WithoutSafeLoads().visit(ast.parse(source)))
    found = {
        name
        for name in names_used(source)
        for forbidden in RUNS_WHAT_IT_READS
        if name == forbidden or name.startswith(forbidden + ".")
    }
    return found | {
        node.arg
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.keyword) and node.arg in KEYWORDS_THAT_RUN
    }


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_that_can_run_code_from_a_file_is_used(path: Path) -> None:
    found = what_could_run(path.read_text())
    if module_of(path) in STARTS_BPTRAIN:
        found = {name for name in found if not name.startswith("subprocess")}
    assert found == set()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import _pickle as quick",
        "import torch\ntorch.load('x')",
        "from torch import load as read\nread('x')",
        "import torch as t\nreader = t.load",
        "import torch.serialization",
        "from torch.serialization import load",
        "import torch\ntorch.save({}, 'x')",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "import numpy as np\nnp.load('x', None, True, allow_pickle=False)",
        "import numpy as np\nnp.load('x', allow_pickle=False, **more)",
        "import numpy as np\nnp.load(np.load('x'), allow_pickle=False)",
        "import numpy as np\nread = np.load",
        "def f(read): read('x', allow_pickle=True)",
        "import yaml\nyaml.load('x', yaml.Loader)",
        "from yaml import unsafe_load",
        "from yaml import FullLoader",
        "eval('1')",
        "run = exec",
        "__import__('os')",
        "from importlib import import_module",
        "import importlib\nimportlib.import_module('x')",
        "import os\nos.system('x')",
        "import shelve as shelf",
    ],
)
def test_that_search_finds_each_way_to_run_code(source: str) -> None:
    assert what_could_run(source)


@pytest.mark.parametrize(
    "source",
    [
        "import pickletools",
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import yaml\nyaml.safe_load('x')",
        "import json\njson.load('x')",
        "from safetensors.torch import load, save\nload(b'')",
        "from importlib.metadata import version",
        "model.eval()",
        "import re\nre.compile('x')",
    ],
)
def test_that_search_leaves_alone_what_reads_data_as_data(source: str) -> None:
    assert not what_could_run(source)
