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
    told: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.told:
            tensors = told.setdefault((row.heading, row.told), [])
            tensors += [row.tensor] * (row.tensor not in tensors)
    return notes + [f"{layer}, {', '.join(of)}: {why}" for (layer, why), of in told.items()]
