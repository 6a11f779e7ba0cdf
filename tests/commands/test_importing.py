"""Garbage is not collected during imports, nor ever looked for in what they made."""

import gc
import sys
from types import ModuleType

import pytest

from bptrain.commands.importing import importing


def test_nothing_is_collected_inside_and_everything_as_before_afterwards() -> None:
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
        with importing():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


@pytest.mark.parametrize("imports", [True, False])
def test_only_what_was_imported_is_frozen(imports: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    with importing():
        if imports:
            monkeypatch.setitem(sys.modules, "imported_by_a_command", ModuleType("it"))
    assert frozen == [False] * imports  # once, before the collector runs again
