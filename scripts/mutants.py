"""Makes the mutants of every backward pass in `ops/`: its code with one change.

A mutant drops an additive term, flips a sign, replaces a factor by one, removes or adds a
transpose, or passes zeros for a tensor that the forward pass saved. The formulas are mutated, and
our own code in the fast kernels; calls of a library's kernel have no formula to change.
"""

import ast
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType

from bptrain import ops

OPS = Path(ops.__file__).parent
WITHOUT_FORMULAS = {OPS / "operation.py", OPS / "function_transforms.py"}
FILES = sorted(set(OPS.glob("*.py")) - WITHOUT_FORMULAS)

DROPPED = {"add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "neg", "neg_"}
DROPPED |= {"addcmul", "addcmul_", "addcdiv", "addcdiv_", "t", "transpose", "permute"}
RENAMED = {"add": "sub", "add_": "sub_", "sub": "add", "sub_": "add_"}
FORM = {"shape", "dtype", "device", "numel", "dim", "size", "stride", "new_empty", "new_zeros"}
TENSORS = {"Tensor", "Tensor | None"}
PRODUCTS = {"mm", "matmul", "bmm"}


@dataclass(frozen=True)
class Mutant:
    """One changed function."""

    path: Path
    function: str  # qualified name
    line: int
    change: str
    code: CodeType

    @property
    def key(self) -> str:
        """Name it as equivalent_mutants.json does: without the line, which moves."""
        return f"{self.path.name} {self.function}: {self.change}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield the mutants of every function whose name says that it is a backward pass."""
    tree = ast.parse(path.read_text())
    seen: set[str] = set()
    for name, function in functions(tree):
        if not is_backward(name, function):
            continue
        unread = set(read_for_form_alone(function)) | set(plain_values(tree, function))
        for number, node in enumerate(ast.walk(function)):
            for change, replacement in changes(node, plain_fields(tree)):
                mutated = deepcopy(tree)
                copy = dict(functions(mutated))[name]
                target = list(ast.walk(copy))[number]
                put(copy, target, replacement)
                ast.fix_missing_locations(mutated)
                key = f"{name} {ast.unparse(copy)}"
                is_same = ast.unparse(copy) == ast.unparse(function)
                if key in seen or is_same or id(node) in unread:
                    continue
                seen.add(key)
                code = find(compile(mutated, str(path), "exec"), name)
                line = getattr(node, "lineno", function.lineno)
                before = "" if node is function else f" in {ast.unparse(node).splitlines()[0]}"
                yield Mutant(path, name, line, change + before, code)


def read_for_form_alone(function: ast.FunctionDef) -> Iterator[int]:
    """Yield the nodes that read no element of a tensor: `x.shape`, `x is not None`."""
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr in FORM:
            yield id(node.value)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot):
            yield id(node.left)


def plain_values(tree: ast.Module, function: ast.FunctionDef) -> Iterator[int]:
    """Yield the nodes that read a field of Saved that is not a tensor."""
    plain = plain_fields(tree)
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr in plain:
            yield id(node)


def plain_fields(tree: ast.Module) -> set[str]:
    """Return the fields of NamedTuples that never hold a tensor: the module's, then the others'."""
    own = dict(fields(tree))
    return {name for name, is_tensor in {**every_field(), **own}.items() if not is_tensor}


@cache
def every_field() -> dict[str, bool]:
    """Return the fields of all classes of `ops/`, and whether any of that name holds a tensor."""
    found: dict[str, bool] = {}
    for path in FILES:
        for name, is_tensor in fields(ast.parse(path.read_text())):
            found[name] = is_tensor or found.get(name, False)
    return found


def fields(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Yield the fields and methods of the module's classes, and whether they may hold a tensor."""
    for node in tree.body:
        for each in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(each, ast.AnnAssign):
                yield ast.unparse(each.target), "Tensor" in ast.unparse(each.annotation)
            elif isinstance(each, ast.FunctionDef):
                yield each.name, False


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield each function of a module or of its classes with its qualified name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node


def is_backward(name: str, function: ast.FunctionDef) -> bool:
    """Return whether a function is a written-out backward pass, by name and without a kernel."""
    last = name.rpartition(".")[2]
    calls_kernel = last.startswith("fused") and "aten" in ast.unparse(function)
    return not calls_kernel and ("backward" in last or "gradient" in last or last[:5] == "grad_")


def changes(node: ast.AST, plain: set[str]) -> Iterator[tuple[str, ast.AST]]:
    """Yield the replacements of a node, with the name of the change."""
    if isinstance(node, ast.FunctionDef):
        yield from zeros_for_arguments(node, plain)
    elif isinstance(node, ast.BinOp):
        yield from changed_arithmetic(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign flipped", node.operand
    elif isinstance(node, ast.AugAssign):
        yield from changed_update(node)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from changed_call(node, node.func)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        if isinstance(node.value, ast.Name) and node.value.id in ("saved", "kept"):
            yield f"zeros for {ast.unparse(node)}", zeros_of(node)
        elif node.attr in ("mT", "T"):
            yield "transpose taken away", node.value


def changed_arithmetic(node: ast.BinOp) -> Iterator[tuple[str, ast.AST]]:
    """Yield the mutants of a sum or a product."""
    left, right = node.left, node.right
    match node.op:
        case ast.Add():
            yield "right term dropped", left
            yield "left term dropped", right
            yield "sign flipped", ast.BinOp(left, ast.Sub(), right)
        case ast.Sub():
            yield "right term dropped", left
            yield "left term dropped", ast.UnaryOp(ast.USub(), right)
            yield "sign flipped", ast.BinOp(left, ast.Add(), right)
        case ast.Mult():
            yield "right factor one", left
            yield "left factor one", right
        case ast.Div():
            yield "divisor one", left
            yield "dividend one", ast.BinOp(ast.Constant(1.0), ast.Div(), right)


def changed_update(node: ast.AugAssign) -> Iterator[tuple[str, ast.AST]]:
    """Yield the mutants of `a += b`."""
    yield "update dropped", ast.Pass()
    other = {ast.Add: ast.Sub, ast.Sub: ast.Add}.get(type(node.op))
    if other:
        yield "sign flipped", ast.AugAssign(node.target, other(), node.value)


def changed_call(node: ast.Call, method: ast.Attribute) -> Iterator[tuple[str, ast.AST]]:
    """Yield the mutants of a call of a tensor's method."""
    receiver = method.value
    if isinstance(receiver, ast.Name) and receiver.id in ("torch", "math", "F"):
        return
    if method.attr in DROPPED:
        yield f".{method.attr} dropped", receiver
    if method.attr in RENAMED:
        renamed = ast.Attribute(receiver, RENAMED[method.attr], ast.Load())
        yield "sign flipped", ast.Call(renamed, node.args, node.keywords)
    if method.attr in PRODUCTS:
        turned = ast.Attribute(ast.Attribute(receiver, "mT", ast.Load()), method.attr, ast.Load())
        yield "transpose put in", ast.Call(turned, node.args, node.keywords)


def zeros_for_arguments(node: ast.FunctionDef, plain: set[str]) -> Iterator[tuple[str, ast.AST]]:
    """Yield the function with zeros for one tensor argument, or one unpacked from `saved`."""
    names = [
        each.arg
        for each in node.args.args
        if each.annotation and ast.unparse(each.annotation) in TENSORS
    ]
    start = 1 if ast.get_docstring(node) else 0
    for name in names:
        changed = deepcopy(node)
        changed.body.insert(start, zeros_statement(name))
        yield f"zeros for {name}", changed
    for number, statement in enumerate(node.body):
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple)):
            continue
        if ast.unparse(statement.value) != "saved":
            continue
        for element in statement.targets[0].elts:
            # a nested tuple holds options, and `_` is not read
            if not isinstance(element, ast.Name) or element.id in {"_", *plain}:
                continue
            changed = deepcopy(node)
            changed.body.insert(number + 1, zeros_statement(ast.unparse(element)))
            yield f"zeros for {ast.unparse(element)}", changed


def zeros_statement(name: str) -> ast.stmt:
    """Return `name = zeros of its shape`, where it is a tensor."""
    return ast.Assign([ast.Name(name, ast.Store())], zeros_of(ast.Name(name, ast.Load())))


def zeros_of(node: ast.expr) -> ast.expr:
    """Return an expression: zeros like `node` where that is a tensor, itself otherwise."""
    text = f"({ast.unparse(node)}.new_zeros({ast.unparse(node)}.shape) "
    text += f"if hasattr({ast.unparse(node)}, 'new_zeros') else {ast.unparse(node)})"
    return ast.parse(text, mode="eval").body


def put(root: ast.AST, target: ast.AST, replacement: ast.AST) -> None:
    """Replace `target`, a node below `root` or `root` itself, in place."""
    if target is root:
        root.body = replacement.body  # type: ignore[attr-defined]
        return
    for parent in ast.walk(root):
        for field, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, field, replacement)
                return
            if isinstance(value, list) and any(each is target for each in value):
                value[next(i for i, each in enumerate(value) if each is target)] = replacement
                return


def find(code: CodeType, name: str) -> CodeType:
    """Return the code of the function of a qualified name within a module's code."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == name:
                return constant
            if name.startswith(f"{constant.co_qualname}."):
                return find(constant, name)
    raise LookupError(name)
