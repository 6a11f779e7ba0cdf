"""In-place operations: `inplace=True`, and writes into an output, as torch.nn allows them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from bptrain import nn
from bptrain.bench.saved_bytes import LAYERS, Layer
from bptrain.models.summary import SavedBytes

KINDS = ["CELU", "ELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "Mish", "ReLU"]
KINDS += ["ReLU6", "SELU", "SiLU", "AlphaDropout", "Dropout", "Dropout1d", "Dropout2d"]
# Their outputs are what they save, or share its memory: a write into them is refused by autograd,
# as torch refuses it after a sigmoid. torch saves the input of these instead, a second tensor.
SAVE_THEIR_OUTPUT = {
    *("CELU", "ELU", "GRU", "Hardtanh", "LeakyReLU", "RNN", "ReLU6", "SELU", "Softsign"),
}


def in_place(module: torch.nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is written into the input, the output, and the gradient."""
    torch.manual_seed(0)
    shape = (3, 4, 5, 2) if "2d" in str(module) else (3, 4, 5)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    written = x.clone()
    output = module(written)
    torch.manual_seed(1)  # the two may draw other amounts of random numbers for a mask
    output.backward(torch.randn(shape, dtype=torch.float64))
    assert x.grad is not None
    return written.detach(), output.detach(), x.grad


@pytest.mark.parametrize("name", KINDS)
def test_a_layer_writes_into_its_input_as_torchs(name: str) -> None:
    ours, reference = (in_place(getattr(each, name)(inplace=True)) for each in (nn, torch.nn))
    assert ours[0].equal(ours[1])
    # torch's AlphaDropout, but not its function, ignores the option
    compared = slice(1, None) if name == "AlphaDropout" else slice(None)
    for mine, theirs in zip(ours[compared], reference[compared], strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "ELU", "Hardtanh"])
def test_it_needs_no_memory_besides_its_input(name: str) -> None:
    x = torch.randn(100, requires_grad=True).exp()
    layer = getattr(nn, name)(inplace=True)
    with SavedBytes(layer) as saved:
        output = layer(x)
        assert output.data_ptr() == x.data_ptr()
        assert saved.take() in (0, x.nbytes)


def test_what_another_layer_saved_is_not_overwritten_in_silence() -> None:
    y = nn.Sigmoid()(torch.randn(4, requires_grad=True))
    nn.ReLU(inplace=True)(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_parameter_is_not_overwritten() -> None:
    with pytest.raises(RuntimeError, match="leaf Variable"):
        nn.ReLU(inplace=True)(torch.randn(4, requires_grad=True))


def change(output: Tensor) -> Tensor:
    return output.mul_(2)


def layers_written_into() -> Iterator[Any]:
    """Yield layers and writes: by default each layer has one of them, by turns."""
    for number, layer in enumerate(LAYERS):
        for turn, write in enumerate((change, torch.relu_)):
            name = f"{layer.name}({layer.arguments})-{'relu_' if turn else 'mul_'}"
            marks = pytest.mark.slow if (number + turn) % 2 else ()
            yield pytest.param(layer, write, id=name, marks=marks)


@pytest.mark.parametrize(("layer", "write"), list(layers_written_into()))
def test_an_output_may_be_written_into_where_torchs_may(
    layer: Layer, write: Callable[[Tensor], Tensor]
) -> None:
    if layer.name in SAVE_THEIR_OUTPUT or layer.name.endswith("EmbeddingLoss"):
        pytest.skip("see SAVE_THEIR_OUTPUT; embedding losses have targets without a gradient")
    found = []
    for kind in (layer.ours, layer.torchs):
        module, inputs = layer.call(kind)
        output = module(*inputs)
        torch.manual_seed(1)
        try:
            written = write(output[0] if isinstance(output, tuple) else output)
            written.sum().backward()
        except RuntimeError:
            found.append(None)
        else:
            found.append(inputs[0].grad)
    ours, torchs = found
    if torchs is not None and not layer.name.endswith("ropout"):
        torch.testing.assert_close(ours, torchs, rtol=1e-3, atol=1e-4)
