"""What `bptrain` sets before its command line is imported."""

import os

import pytest

import bptrain.cli
from bptrain.__main__ import POLARS_MEMORY, main


@pytest.mark.parametrize("own", [None, "dirty_decay_ms:1000"])
def test_the_allocator_of_polars_is_set_before_it_is_imported(
    own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr(bptrain.cli, "main", lambda: seen.append(os.environ["_RJEM_MALLOC_CONF"]))
    monkeypatch.setenv("_RJEM_MALLOC_CONF", own or "")
    if own is None:
        monkeypatch.delenv("_RJEM_MALLOC_CONF")
    main()
    assert seen == [own or POLARS_MEMORY]
