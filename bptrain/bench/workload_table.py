"""The table of docs/benchmarks.md: each workload in several processes, the worst of them shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

BEGIN, END = "<!-- written by scripts/benchmark -->", "<!-- end of scripts/benchmark -->"
HEADER = (
    "| work | dtype | engine | step, ms | / torch.nn | / its fastest form | / floor | kept | peak "
    "| goal |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
REFERENCE = "torch.nn"
FORMULAS = "bptrain, compiled formulas"
KERNELS = ("bptrain, tape", "bptrain, compiled")
FORMULAS_HEADER = (
    "| work | dtype | formulas compiled, ms | / kernels on the tape | / kernels compiled |\n"
    "|---|---|---|---|---|"
)


class Row(NamedTuple):
    """An engine of ours on a workload; ratios are the worst of the processes' medians.

    step_ms       median of ours in the process that gave the worst ratio to torch.nn
    fastest       the form of torch.nn that was fastest in the process of the worst ratio to it
    kept, peak    bytes over torch.nn's
    """

    work: str
    precision: str
    engine: str
    step_ms: float
    over_torch: float
    over_fastest: float
    fastest: str
    over_floor: float
    kept: float
    peak: float


def rows_of(processes: Sequence[dict[str, Any]]) -> list[Row]:
    """Return a row for each engine of ours that every process measured.

    processes  the JSON of `StepResults` of one workload, one each
    """
    engines = [each["name"] for each in processes[0]["alternatives"] if each["is_ours"]]
    return [
        _row(processes, engine)
        for engine in engines
        if all(engine in _by_name(process) for process in processes)
    ]


def _row(processes: Sequence[dict[str, Any]], engine: str) -> Row:
    slowest = max(processes, key=lambda process: _over_torch(process, engine))
    over_fastest, fastest = max(_over_fastest(process, engine) for process in processes)
    ours, theirs = _by_name(slowest)[engine], _by_name(slowest)[REFERENCE]
    return Row(
        slowest["name"],
        slowest["precision"],
        engine.removeprefix("bptrain, "),
        1e3 * ours["step_s"]["median"],
        _over_torch(slowest, engine),
        over_fastest,
        fastest,
        max(_over_floor(process, engine) for process in processes),
        ours["kept_bytes"] / theirs["kept_bytes"],
        ours["peak_bytes"] / theirs["peak_bytes"],
    )


def _by_name(process: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in process["alternatives"]}


def _over_torch(process: dict[str, Any], engine: str) -> float:
    return float(_by_name(process)[engine]["over_torch"]["median"])


def _over_fastest(process: dict[str, Any], engine: str) -> tuple[float, str]:
    """Return ours over the fastest form of theirs, and its name."""
    found = [each for each in process["ratios"] if each["ours"] == engine]
    ratios = [(float(each["spread"]["median"]), str(each["theirs"])) for each in found]
    return max(ratios)


def _over_floor(process: dict[str, Any], engine: str) -> float:
    floor = float(process["floor"]["products_s"]) + float(process["floor"]["optimizer_s"])
    return float(_by_name(process)[engine]["step_s"]["median"]) / floor


def formulas_table(results: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Return the compiled formulas' time over that of the kernels as Markdown; "" without any.

    results  of each workload, the JSON of its processes. A ratio is that of the medians of a
             process, the worst of the processes is shown
    """
    lines = []
    for processes in results:
        times = [
            {name: float(each["step_s"]["median"]) for name, each in _by_name(process).items()}
            for process in processes
        ]
        if not all(FORMULAS in each for each in times):
            continue
        cells = [processes[0]["name"], processes[0]["precision"]]
        cells += [f"{1e3 * max(each[FORMULAS] for each in times):.3g}"]
        for engine in KERNELS:
            found = [each[FORMULAS] / each[engine] for each in times if engine in each]
            cells += [f"{max(found):.2f}" if found else "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([FORMULAS_HEADER, *lines]) if lines else ""


def table_of(rows: Sequence[Row], goals: dict[str, str]) -> str:
    """Return the rows as Markdown."""
    lines = [
        f"| {row.work} | {row.precision} | {row.engine} | {row.step_ms:.3g} "
        f"| {row.over_torch:.2f} | {row.over_fastest:.2f} ({row.fastest}) | {row.over_floor:.2f} "
        f"| {row.kept:.2f} | {row.peak:.2f} | {goals.get(row.work, '')} |"
        for row in rows
    ]
    return "\n".join([HEADER, *lines])


def write_section(path: Path, section: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace what lies between two lines of a file; without them, append it."""
    text = path.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2] if found else "\n"
    before = before if found else f"{before.rstrip()}\n\n"
    path.write_text(f"{before}{begin}\n\n{section.strip()}\n\n{end}{after}", encoding="utf-8")
