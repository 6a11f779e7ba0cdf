"""Garbage is not collected during imports, and is again afterwards."""

import gc

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
