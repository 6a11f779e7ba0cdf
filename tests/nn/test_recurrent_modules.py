"""What the recurrent modules promise beyond the table: packed sequences, options, attributes."""

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from bptrain import nn

KINDS = ["RNN", "LSTM", "GRU"]


def pair(kind: str, **options) -> tuple[torch.nn.Module, torch.nn.Module]:
    made = []
    for package in (nn, torch.nn):
        torch.manual_seed(0)
        made.append(getattr(package, kind)(3, 4, **options).double())
    return made[0], made[1]


@pytest.mark.parametrize("kind", KINDS)
def test_packed_output_unpacks_as_torchs(kind: str) -> None:
    sequences = [torch.randn(n, 3, dtype=torch.float64) for n in (2, 5, 1, 4)]
    packed = pack_sequence(sequences, enforce_sorted=False)
    ours, reference = (module(packed)[0] for module in pair(kind, bidirectional=True))
    for mine, theirs in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs)  # data, batch_sizes and both orders
    for mine, theirs in zip(pad_packed_sequence(ours), pad_packed_sequence(reference), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_are_torchs(kind: str) -> None:
    ours, reference = pair(kind, num_layers=2, bidirectional=True, dropout=0.25, batch_first=True)
    for name in (
        "mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout",
        "bidirectional", "proj_size",
    ):  # fmt: skip
        assert getattr(ours, name) == getattr(reference, name)
    mine, theirs = (
        [[w.shape for w in group] for group in m.all_weights] for m in (ours, reference)
    )
    assert mine == theirs
    assert ours.flatten_parameters() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_replaced_parameter_is_used(kind: str) -> None:
    module, _ = pair(kind)
    x = torch.randn(2, 1, 3, dtype=torch.float64)
    before = module(x)[0]
    module.weight_ih_l0 = torch.nn.Parameter(2 * module.weight_ih_l0.detach())
    assert not module(x)[0].equal(before)
    assert module.all_weights[0][0] is module.weight_ih_l0


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_without_a_layer_above_gives_a_warning(kind: str) -> None:
    with pytest.warns(UserWarning, match="dropout"):
        getattr(nn, kind)(3, 4, dropout=0.5)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dropout": 1.5}, ValueError),
        ({"dropout": True}, ValueError),
        ({"bias": 1}, TypeError),
        ({"batch_first": None}, TypeError),
        ({"hidden_size": 2.0}, TypeError),
        ({"input_size": 0}, ValueError),
        ({"num_layers": 0}, ValueError),
        ({"proj_size": 4}, ValueError),
        ({"proj_size": -1}, ValueError),
    ],
    ids=str,
)
def test_options_out_of_range_are_named(options: dict, error: type) -> None:
    with pytest.raises(error, match=next(iter(options))):
        nn.LSTM(**({"input_size": 3, "hidden_size": 4} | options))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_an_instance_of_torchs_class_and_can_be_exported(kind: str) -> None:
    module, reference = pair(kind)
    assert isinstance(module, type(reference))
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    exported = torch.export.export(module, (x,)).module()
    torch.testing.assert_close(exported(x)[0], reference(x)[0])


@pytest.mark.parametrize("kind", [nn.RNN, nn.RNNCell])
def test_an_unknown_nonlinearity_is_named(kind: type) -> None:
    with pytest.raises(ValueError, match="'gelu', expected 'tanh' or 'relu'"):
        kind(3, 4, nonlinearity="gelu")(torch.zeros(2, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_input_and_state_must_agree_on_their_axes(kind: str) -> None:
    module, _ = pair(kind)
    state = torch.zeros(1, 2, 4, dtype=torch.float64)
    hx = (state, state) if kind == "LSTM" else state
    with pytest.raises(ValueError, match="expected 2, as the input"):
        module(torch.zeros(5, 3, dtype=torch.float64), hx)
    with pytest.raises(ValueError, match="input has 4 axes"):
        module(torch.zeros(1, 5, 2, 3, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_is_built_on_the_device_and_in_the_dtype_given(kind: str) -> None:
    module = getattr(nn, kind)(3, 4, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in module.parameters()} == {("meta", torch.bfloat16)}
