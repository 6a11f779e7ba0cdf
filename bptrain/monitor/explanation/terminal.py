"""An explained step on a terminal: forward, loss, backward, update, and one weight through it."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule as Line
from rich.table import Table
from rich.text import Text
from torch import Tensor

from bptrain.errors import printable
from bptrain.monitor.explanation.links import (
    Argument,
    Explanation,
    FollowedWeight,
    Link,
    Part,
    ThroughTime,
    WeightUpdate,
    Window,
)
from bptrain.monitor.explanation.numbers import (
    element,
    exact,
    is_small,
    number,
    rows,
    shape,
    summary,
)

FORMULA, QUIET, STRONG, GRADIENT = "cyan", "dim", "bold", "magenta"
MOST_STEPS = 12  # of a recurrent layer whose gradients are listed


def rendered(explanation: Explanation, optimizer: str) -> Iterator[RenderableType]:
    """Yield an explanation part by part.

    optimizer  what it is called, such as "sgd"
    """
    yield _heading("Forward: what does the network compute?")
    model = [link for link in explanation.links if not link.is_loss]
    yield from map(_forward, model)
    yield _heading("Loss: how wrong is it?")
    yield from map(_forward, [link for link in explanation.links if link.is_loss])
    yield _heading("Backward: from the loss to the first layer")
    yield from map(_backward, reversed(explanation.links))
    yield from map(_window, explanation.windows)
    yield from map(_through_time, explanation.scans)
    yield _heading(
        f"Update: {optimizer} moves every weight, learning rate {number(explanation.lr)}"
    )
    yield _updates(explanation.updates, explanation.norms)
    if explanation.weight is not None:
        yield _heading("One weight, followed through all of it")
        yield _followed(explanation.weight)


def _heading(text: str) -> RenderableType:
    return Padding(Line(Text(text, STRONG), align="left", style=QUIET), (1, 0, 0, 0))


def _text(words: str, style: str = "") -> Text:
    return Text(printable(words), style)


def _title(link: Link) -> Text:
    title = _numbered(link.number, link.title)
    if link.operation != link.title:
        title.append(f"  {link.operation}", QUIET)
    return title


def _numbered(number: int, title: str) -> Text:
    return Text.assemble((f"\n{number:>2}  ", QUIET), (printable(title), STRONG))


def _below(*parts: RenderableType) -> RenderableType:
    return Padding(Group(*parts), (0, 0, 0, 4))


def _forward(link: Link) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name in ("letter", "origin", "shape"):
        table.add_column(name, style=QUIET if name != "letter" else STRONG, no_wrap=True)
    table.add_column("values", ratio=1)
    for each in link.arguments:
        table.add_row(each.letter, _text(each.name), shape(each.value), _values(each.value))
    table.add_row(link.letter, "result", shape(link.output), _values(link.output))
    lines: list[RenderableType] = []
    if link.derivation:
        lines += [_text(link.derivation.title, QUIET)]
        lines += [_text(each, FORMULA) for each in link.derivation.forward]
    if link.options:
        lines.append(_text(", ".join(f"{k} {v}" for k, v in link.options.items()), QUIET))
    return Group(_title(link), _below(*lines, table))


def _values(tensor: Tensor) -> RenderableType:
    if not is_small(tensor):
        return Text(summary(tensor), QUIET)
    lines = rows(tensor)
    grid = Table.grid(padding=(0, 1))
    for _ in range(len(lines[0]) + 2):
        grid.add_column(justify="right", no_wrap=True)
    for line in lines:
        grid.add_row(Text("[", QUIET), *line, Text("]", QUIET))
    return grid


def _backward(link: Link) -> RenderableType:
    assert link.upstream is not None
    wanted = [each for each in link.arguments if each.gradient is not None]
    upstream = Table.grid(padding=(0, 2))
    upstream.add_row(
        Text(f"upstream {link.letter}' =", STRONG), _values(link.upstream), _origin(link)
    )
    parts: list[RenderableType] = [upstream]
    for each in wanted:
        parts += _rules(link, each)
        parts.append(_chain(link, each))
    return Group(_title(link), _below(*parts))


def _origin(link: Link) -> Text:
    return Text("the loss by itself" if link.letter == "L" else "", QUIET)


def _rules(link: Link, argument: Argument) -> list[RenderableType]:
    rules = link.derivation.rules_for(argument.letter) if link.derivation else []
    found: list[RenderableType] = []
    for rule in rules:
        found += [_text(each, FORMULA) for each in rule.formula]
        if rule.because:
            found.append(Padding(_text(f"because {rule.because}", QUIET), (0, 0, 0, 2)))
    return found


def _chain(link: Link, argument: Argument) -> RenderableType:
    """Return upstream gradient, local derivative and product of elements, and their sum."""
    letter, gradient = argument.letter, argument.gradient
    assert gradient is not None
    name = _text("" if argument.name.startswith("y of") else f"  {argument.name}", QUIET)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=QUIET, pad_edge=False)
    for title in ("upstream", "", "local derivative", "", "product"):
        table.add_column(title)
    parts = [part for part in link.parts if letter in part.slopes and is_small(gradient)]
    for part in parts:
        table.add_row(*_product(link, letter, part))
    total = Table.grid(padding=(0, 1))
    sums = "their sum, " if link.is_whole and len(parts) > 1 else ""
    total.add_row(Text(f"{sums}{letter}' =", GRADIENT), _values(gradient), name)
    return Group(*[table] * bool(parts), total, "")


def _product(link: Link, letter: str, part: Part) -> list[RenderableType]:
    name, slope = element(link.letter, part.at), part.slopes[letter]
    upstream = Text.assemble((f"{_primed(link.letter, part)} = ", QUIET), number(part.upstream))
    local = Table.grid(padding=(0, 1))
    local.add_row(Text(f"d{name}/d{letter} =", QUIET), _values(slope))
    return [upstream, "×", local, "=", _values(part.upstream * slope)]  # noqa: RUF001


def _primed(letter: str, part: Part) -> str:
    return element(f"{letter}'", part.at)


def _window(window: Window) -> RenderableType:
    corner = window.corner
    lines = [
        f"one output pixel {element('y', window.at)} = {number(window.value)} reads a window of "
        f"{corner[2]} x {corner[3]} at row {corner[0]}, column {corner[1]} of channel "
        f"{window.channel}",
        "x in the window (0 in the padding), the kernel, and its gradient y' "
        f"{number(window.upstream)} times the kernel, which goes back to where x was read",
    ]
    grid = Table.grid(padding=(0, 3))
    grid.add_row(*map(_values, (window.patch, window.kernel, window.upstream * window.kernel)))
    return Group(
        _numbered(window.link, window.title), _below(*(_text(line) for line in lines), grid)
    )


def _through_time(scan: ThroughTime) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=QUIET, pad_edge=False)
    for name in ("t", "norm of h'_t carried", "of the step before", "norm of the whole h'_t"):
        table.add_column(name, justify="right")
    norms = scan.carried.double().norm(dim=1).tolist()
    complete = scan.complete.double().norm(dim=1).tolist()
    for t in _chosen_steps(scan):
        later = norms[t + 1] if t + 1 < len(norms) else 0.0
        ratio = f"{norms[t] / later:.3f} x" if later else ""
        table.add_row(str(t), number(norms[t]), ratio, number(complete[t]))
    words = f"the gradient of time step {scan.step} alone, carried back to step 0 ({scan.cell})"
    return Group(_numbered(scan.link, scan.title), _below(_text(words), table))


def _chosen_steps(scan: ThroughTime) -> Sequence[int]:
    last = len(scan.carried) - 1
    if last < MOST_STEPS:
        return range(last, -1, -1)
    return sorted({round(last * k / (MOST_STEPS - 1)) for k in range(MOST_STEPS)}, reverse=True)


def _updates(updates: Sequence[WeightUpdate], norms: tuple[float, float]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=QUIET, pad_edge=False)
    for name in ("before", "gradient", "after"):
        table.add_column(name)
    for each in updates:
        gradient = Text("none", QUIET) if each.gradient is None else _values(each.gradient)
        table.add_row(_text(each.name, STRONG))
        table.add_row(_values(each.before), gradient, _values(each.after))
    before, after = norms
    clipped = f", clipped to {number(after)}" if after < before else ""
    words = f"norm of all gradients together: {number(before)}{clipped}"
    return _below(_text(words, QUIET), table)


def _followed(weight: FollowedWeight) -> RenderableType:
    name = f"{weight.name}[{','.join(map(str, weight.at))}]"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=QUIET, pad_edge=False)
    table.add_column("what moves with w")
    for title in ("dv/dw", "x dL/dv", "= product", "all elements"):
        table.add_column(title, justify="right")
    for each in weight.path:
        table.add_row(
            Text.assemble(f"{each.link:>2} ", (printable(each.title), STRONG),
                          (f"  {list(each.at)}" if each.at else "", QUIET)),
            number(each.movement), number(each.gradient),
            number(each.movement * each.gradient), number(each.total),
        )  # fmt: skip
    below, loss, above = weight.losses
    check = Table.grid(padding=(0, 2))
    check.add_row("product of the chain", Text(exact(weight.gradient), GRADIENT))
    check.add_row("finite difference", Text(exact(weight.measured), GRADIENT))
    moved = (
        f"w moved by {weight.distance:g} either way: the loss is {exact(below)}, {exact(loss)}, "
        f"{exact(above)} (float64)"
    )
    lines: list[RenderableType] = [_text(f"w = {name} = {number(weight.value)}", STRONG), table]
    return _below(*lines, *_one_product(weight), check, _text(moved, QUIET))


def _one_product(weight: FollowedWeight) -> list[RenderableType]:
    """Return the chain as one product, where a single element moves at every link."""
    if not weight.is_one_path:
        return []
    factors, before = [], 1.0
    for each in weight.path:
        factors.append(number(each.movement / before))
        before = each.movement
    product = " × ".join(reversed(factors))  # noqa: RUF001
    return [_text(f"dL/dw = {product} = {number(weight.gradient)}", FORMULA)]
