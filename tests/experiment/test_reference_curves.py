"""Reference loss curves: the same seed gives the same losses, by the kernels and by the formulas.

A change of these numbers is a change of the mathematics, the data or their order.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_files import CONFIGS
from torch import Tensor

from bptrain import nn
from bptrain.ops.kernels import Kernels, use_kernels

# means of train/loss over 20 steps, or fewer at the end of an epoch, on a CPU
CURVES: dict[str, tuple[str, list[str], list[float]]] = {
    "mlp": (
        "digits_mlp.yaml",
        ["train.epochs=3"],
        [1.60844882, 0.76893502, 0.69426079, 0.62114513, 0.60783070],
    ),
    "cnn": (
        "digits_cnn.yaml",
        ["train.steps=60", "monitor.log_every=20"],
        [1.34747406, 0.78617060, 0.70263042, 0.68064049, 0.62383674],
    ),
    "lstm": (
        "digits_mlp.yaml",
        ["train.steps=60", "monitor.log_every=20", "model={kind: rnn, cell: lstm, hidden: 32}"],
        [2.28601677, 2.22814298, 2.14504960, 2.00112122, 1.94281174],
    ),
    "gru": (
        "digits_mlp.yaml",
        ["train.steps=60", "monitor.log_every=20", "model={kind: rnn, cell: gru, hidden: 32}"],
        [2.23936361, 2.02723002, 1.76260919, 1.52077925, 1.43597660],
    ),
}


@pytest.mark.parametrize("kernels", ["fused", "formula"])
@pytest.mark.parametrize("name", CURVES)
def test_the_losses_are_those_of_the_reference(
    bptrain: Callable, tmp_path: Path, name: str, kernels: str
) -> None:
    config, words, reference = CURVES[name]
    words = [*words, f"kernels={kernels}", "device=cpu", "--run-dir", "run"]
    result = bptrain("fit", CONFIGS / config, *words)
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    # other CPUs sum a matrix product in another order, and the steps amplify it
    assert losses[:2] == pytest.approx(reference[:2], rel=1e-4)
    assert losses[: len(reference)] == pytest.approx(reference, rel=1e-3)


def losses_of_attention(kernels: Kernels) -> list[Tensor]:
    """Return the losses of 20 steps that fit an attention layer to random targets."""
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(4, 5, 8)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    losses = []
    for _ in range(20):
        with use_kernels(kernels):
            outputs, _ = layer(x, x, x, need_weights=False)
            loss = (outputs - x.roll(1, 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def test_attention_learns_the_same_by_the_kernel_and_by_the_formula() -> None:
    fused, formula = losses_of_attention("fused"), losses_of_attention("formula")
    torch.testing.assert_close(fused, formula, rtol=1e-5, atol=0)
    assert fused[-1] < 0.95 * fused[0]


def test_the_kernels_of_the_config_are_those_that_train(bptrain: Callable, tmp_path: Path) -> None:
    curves = {}
    for kernels in ("fused", "formula"):
        words = ["train.steps=2", f"kernels={kernels}", "device=cpu", "--run-dir", kernels]
        assert bptrain("fit", CONFIGS / "digits_cnn.yaml", *words).exit_code == 0
        curves[kernels] = (tmp_path / kernels / "checkpoints" / "step-000002").glob("model.*")
    fused, formula = (next(paths).read_bytes() for paths in curves.values())
    assert fused != formula  # equal to rounding, as above, and yet not computed by the same code
