"""The architecture as data: a package imports only from layers below its own.

A new row, or a package on another layer, is a decision about the design: it needs a reason.
"""

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

import bptrain

PACKAGE = Path(bptrain.__file__).parent
LAYERS = [  # from the bottom up; packages of one layer do not import each other
    {"errors", "tags", "problem", "free_memory", "stateful"},  # errors, protocols and values
    {"ops", "config", "plots", "processes"},  # mathematics; configuration; pictures; helpers
    {"tape", "nn", "rundir"},  # a recorded step; modules that mirror torch.nn; the run's folder
    {"models", "losses", "tasks", "data", "optim", "train", "monitor"},
    {"verify", "bench"},  # is the gradient right? is it fast?
    {"experiment"},  # config, plan, build, session, evaluation
    {"commands"},  # one file a command
    {"cli", "api"},  # what a user types or calls, one command each
]
EVERYONE_MAY_IMPORT = "__init__"  # the version
OFFERS = {
    "nn",
    "api",
}  # to `import bptrain`, by the names that __init__ imports when they are asked for
STARTS_THE_COMMAND_LINE = "__main__"
LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}
MOST_LAYERS = 8
MAX_MODULES = 6  # directly under bptrain/
# __init__: bptrain.convert makes a user's model one of bptrain.nn's layers
MAY_IMPORT_NN = {"nn", "models", "losses", "verify", "bench", "__init__"}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def package_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


@cache
def text_of(path: Path) -> str:
    return path.read_text()


@dataclass
class Contents:
    """What the tests look at in a file, without its tree: the trees of all would fill memory."""

    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)
    functions: dict[str, int] = field(default_factory=dict)  # the most lines by each name
    loaded: set[str] = field(default_factory=set)  # names and attributes, as they are written
    keywords: set[str] = field(default_factory=set)


@cache
def contents_of(source: str) -> Contents:
    """Return what is in a file."""
    found = Contents()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.imports.append(node)
        elif isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.lineno
            found.functions[node.name] = max(lines, found.functions.get(node.name, 0))
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            found.loaded.add(dotted(node))
        elif isinstance(node, ast.keyword) and node.arg:
            found.keywords.add(node.arg)
    return found


def dotted(node: ast.AST) -> str:
    """Return a node as it is written: ast.unparse, which is slow, in the many plain cases."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ast.unparse(node)


@cache
def imports_of(path: Path) -> set[str]:
    """Return the bptrain modules a file imports, `from package import module` resolved."""
    found = set()
    for node in contents_of(text_of(path)).imports:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                at = PACKAGE.parent / submodule.replace(".", "/")
                is_module = at.with_suffix(".py").exists() or at.is_dir()
                found.add(submodule if is_module else str(node.module))
    return {name for name in found if name.split(".")[0] == "bptrain"}


def may_import(importer: str, imported: str) -> bool:
    """Return whether a package may import from another one."""
    if importer == imported or imported == EVERYONE_MAY_IMPORT:
        return True
    if importer == STARTS_THE_COMMAND_LINE:
        return imported == "cli"
    if importer == EVERYONE_MAY_IMPORT:
        return imported in OFFERS
    return LAYER[imported] < LAYER[importer]


def test_every_package_is_on_one_layer() -> None:
    there = {package_of(module_of(path)) for path in FILES}
    assert there == {*LAYER, EVERYONE_MAY_IMPORT, STARTS_THE_COMMAND_LINE}
    assert sum(map(len, LAYERS)) == len(LAYER)


def test_there_are_few_layers_and_few_modules_outside_of_packages() -> None:
    alone = [path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")]
    assert len(LAYERS) <= MOST_LAYERS
    assert len(alone) <= MAX_MODULES, alone


def test_imports_lead_to_lower_layers() -> None:
    wrong = [
        f"{module_of(path)} imports {imported}, which is not on a lower layer"
        for path in FILES
        for imported in imports_of(path)
        if not may_import(package_of(module_of(path)), package_of(imported))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("importer", "imported", "is_allowed"),
    [
        ("cli", "commands", True),
        ("train", "rundir", True),
        ("train", "train", True),
        ("train", "data", False),  # peers
        ("rundir", "train", False),  # upwards
        ("errors", "config", False),
        ("__init__", "cli", False),
        ("__init__", "nn", True),
        ("__init__", "commands", False),
        ("__main__", "cli", True),
        ("__main__", "commands", False),
        ("verify", "__init__", True),
    ],
)
def test_peers_and_higher_layers_are_refused(
    importer: str, imported: str, is_allowed: bool
) -> None:
    assert may_import(importer, imported) == is_allowed


def test_the_package_imports_nothing_of_its_own_until_it_is_asked_for() -> None:
    found = imported_at_once(ast.parse((PACKAGE / "__init__.py").read_text()))
    assert found == {"typing"}


def imported_at_once(tree: ast.Module) -> set[str | None]:
    """Return the modules that a file imports when it is imported, not inside of a function."""
    found: set[str | None] = set()
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        for each in [] if isinstance(node, ast.FunctionDef) else ast.walk(node):
            if isinstance(each, ast.Import):
                found |= {alias.name for alias in each.names}
            elif isinstance(each, ast.ImportFrom):
                found.add(each.module)
    return found


def test_no_file_imports_its_own_package() -> None:
    own = {p: module_of(p).rpartition(".")[0] for p in FILES if p.name != "__init__.py"}
    assert [p for p in own if own[p] != "bptrain" and own[p] in imports_of(p)] == []


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


def test_only_what_builds_or_checks_modules_knows_nn() -> None:
    users = {
        package_of(module_of(p)) for p in FILES if any("bptrain.nn" in i for i in imports_of(p))
    }
    assert users <= MAY_IMPORT_NN


def test_files_and_functions_stay_short_enough_to_read() -> None:
    assert [path for path in FILES if text_of(path).count("\n") > 400] == []
    long = [
        f"{module_of(path)}: {name}"
        for path in FILES
        for name, lines in contents_of(text_of(path)).functions.items()
        if lines > 50
    ]
    assert long == []


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
STARTS_BPTRAIN = {  # as processes that may be killed, by a list of words
    "bptrain.commands.trial_process",
    "bptrain.commands.verify_resume",
}
# it only writes: a state_dict of tensors, and graphs, for programs without bptrain
WRITES_FOR_OTHERS = {
    ("bptrain.experiment.exporting", name)
    for name in (
        "torch.save",
        "torch.export",
        "torch.export.Dim",
        "torch.export.ExportedProgram",
        "torch.export.export",
        "torch.export.save",
    )
}
# the state_dicts of others: by torch's restricted reader, in a process of its own
READS_STATE_DICTS = {
    ("bptrain.experiment.state_dict_file", name) for name in ("torch.load", "weights_only")
}
RESTRICTED_LOAD = "torch.load(path, map_location='cpu', weights_only=True)"
KEYWORDS_THAT_RUN = {"allow_pickle", "weights_only"}


def names_used(contents: Contents) -> set[str]:
    """Return the full names of everything that a file refers to, however it was imported."""
    full: dict[str, str] = {}
    imported: set[str] = set()
    for node in contents.imports:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                full[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            else:
                root = alias.name.split(".")[0]
                full[alias.asname or root] = alias.name if alias.asname else root
                imported.add(alias.name)
    used = set(full.values()) | imported
    for written in contents.loaded:
        root, dot, rest = written.partition(".")
        used.add(full.get(root, root) + dot + rest)
    return used


class WithoutSafeLoads(ast.NodeTransformer):
    """Remove the one safe call of numpy's reader: np.load(path, allow_pickle=False)."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        words = [(each.arg, ast.unparse(each.value)) for each in node.keywords]
        is_load = ast.unparse(node.func) == "np.load" and len(node.args) == 1
        if is_load and words == [("allow_pickle", "False")]:
            return node.args[0]
        return self.generic_visit(node)


def what_could_run(source: str) -> set[str]:
    """Return the names and keywords of a file that can run code from data."""
    if "np.load" in source:  # parsed again, as what replaced a call has no place in the file
        source = ast.unparse(WithoutSafeLoads().visit(ast.parse(source)))
    contents = contents_of(source)
    found = {
        name
        for name in names_used(contents)
        for forbidden in RUNS_WHAT_IT_READS
        if name == forbidden or name.startswith(forbidden + ".")
    }
    return found | (contents.keywords & KEYWORDS_THAT_RUN)


def test_state_dicts_are_read_by_the_restricted_reader_alone() -> None:
    tree = ast.parse((PACKAGE / "experiment" / "state_dict_file.py").read_text())
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert [ast.unparse(each) for each in uses].count("torch.load") == 1
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert RESTRICTED_LOAD in calls


def test_nothing_that_can_run_code_from_a_file_is_used() -> None:
    found = {(module_of(path), name) for path in FILES for name in what_could_run(text_of(path))}
    assert [
        (module, name)
        for module, name in found
        if (module, name) not in WRITES_FOR_OTHERS | READS_STATE_DICTS
        and (module not in STARTS_BPTRAIN or not name.startswith("subprocess"))
    ] == []


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
