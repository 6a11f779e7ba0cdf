"""What a check says beside its rows: what could not be compared, what is wrong at kinks alone."""

from collections.abc import Sequence

from bptrain.verify.report import Row


def notes_on(rows: Sequence[Row]) -> list[str]:
    """Return a line for all elements skipped, and one for each reason in each layer."""
    skipped = sum(row.kinks for row in rows)
    notes = []
    if skipped:
        notes.append(
            f"{skipped} element{'s' * (skipped != 1)} or directions skipped at kinks, where no "
            "derivative exists; others were compared in their place"
        )
    noted: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.note:
            tensors = noted.setdefault((row.heading, row.note), [])
            tensors += [row.tensor] * (row.tensor not in tensors)
    return notes + [f"{layer}, {', '.join(of)}: {why}" for (layer, why), of in noted.items()]
