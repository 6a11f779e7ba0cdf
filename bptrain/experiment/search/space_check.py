"""Does the config take every key and value of a search space? Asked before anything is trained."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from bptrain.config import ConfigErrors, load_config
from bptrain.errors import shorten
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.search.space import Range, Space

MOST_TRIED = 200  # combinations, where a space has more


def refuse_wrong_values(path: Path, space: Space) -> None:
    """Raise ConfigErrors for a key or value that the config does not take.

    Lists are tried with each of their values, ranges with both ends. Of combinations, of which some
    may not fit together, all are tried, or MOST_TRIED drawn at random.
    """
    for values in _tried(space):
        words = space.words(values)
        try:
            load_config(ExperimentConfig, path, [*space.fixed, *words])
        except ConfigErrors as error:
            reports = [*error.reports, *_explained(space, words, error)]
            raise ConfigErrors(reports, error.total + len(reports) - len(error.reports)) from error


def _tried(space: Space) -> Iterator[Sequence[str]]:
    """Yield combinations in which every end of a dimension occurs, and then further ones."""
    if space.size <= MOST_TRIED:
        yield from space.combinations()
        return
    first = [each.ends[0] for each in space.dimensions]
    for place, dimension in enumerate(space.dimensions):
        for value in dimension.ends:
            yield [*first[:place], value, *first[place + 1 :]]
    random = Random(0)  # noqa: S311  not for secrets
    for _ in range(MOST_TRIED):
        yield [random.choice(each.ends) for each in space.dimensions]


def _explained(space: Space, words: Sequence[str], error: ConfigErrors) -> Iterator[str]:
    """Yield what the errors of a combination do not say by themselves."""
    said = "\n".join(error.reports)
    for dimension, word in zip(space.dimensions, words, strict=True):
        is_range = isinstance(dimension, Range) and dimension.form != "int"
        if is_range and "an integer" in said and f"override {word!r}" in said:
            yield f"  try: for whole numbers {dimension.key}=int(LOW,HIGH)"
    if len(words) > 1:
        yield shorten(f"  in the combination {' '.join(words)}")
