"""What the fault injections share: the tally of what was tried."""

from collections.abc import Callable

import pytest


@pytest.fixture
def tally() -> Callable[..., None]:
    """Note a fault that was tried, and what happened if that was not as promised."""

    def note(kind: str, what_happened: str = "") -> None:
        pass

    return note
