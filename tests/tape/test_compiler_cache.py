"""A damaged file in the folder of torch's compiler does not stop a run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bptrain.ops.gru import GRU
from bptrain.tape.cell_code import CompiledEquations
from bptrain.tape.compiled_cells import Dtypes, kernels_of, lines_of
from bptrain.tape.compiler_cache import compiled_despite_damage

BY_ANOTHER_PROCESS = """
import torch
from bptrain.ops.gru import GRU
from bptrain.tape.compiled_cells import Dtypes, kernels_of
kernels_of(GRU, Dtypes(torch.float32, torch.float32))
"""


@pytest.mark.slow
def test_a_library_that_was_cut_short_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.utils import clear_caches

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    subprocess.run([sys.executable, "-c", BY_ANOTHER_PROCESS], check=True)
    libraries = [*tmp_path.rglob("*.so")]
    assert libraries
    for each in libraries:
        each.chmod(0o600)
        os.truncate(each, 64)
    clear_caches()
    (lines, kinds), _ = lines_of(GRU)
    with pytest.raises(OSError, match=r"\.so: "):
        CompiledEquations(lines, [torch.float32] * len(kinds))
    assert kernels_of(GRU, Dtypes(torch.float32, torch.float32))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)


def hidden(error: Exception) -> Callable[[], str]:
    """Return a function that raises an error from which another one came, without saying so."""
    tried: list[str] = []

    def compile_it() -> str:
        tried.append(os.environ.get("TORCHINDUCTOR_CACHE_DIR", ""))
        if len(tried) == 2:
            return tried[0] + " " + tried[1]
        try:
            raise error
        except type(error):
            raise RuntimeError("the compiler") from None

    return compile_it


@pytest.mark.parametrize("damage", [OSError("file too short"), ImportError("file too short")])
def test_only_what_cannot_be_read_is_compiled_again(
    damage: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "first")
    first, _, second = compiled_despite_damage(hidden(damage)).partition(" ")
    assert first == "first"
    assert second != "first"
    with pytest.raises(RuntimeError, match="the compiler"):
        compiled_despite_damage(hidden(ValueError("another")))
