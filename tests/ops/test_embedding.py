"""What is true of the table of rows beyond the table of cases."""

import pytest
import torch

from bptrain import nn
from bptrain.ops import embedding


def test_only_the_indices_are_saved() -> None:
    indices, weight = torch.tensor([1, 2]), torch.randn(4, 3, requires_grad=True)
    (saved,) = embedding(indices, weight).grad_fn.saved_tensors
    assert saved.data_ptr() == indices.data_ptr()


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5])
def test_max_norm_scales_the_rows_that_are_read_as_torch_does(norm_type: float) -> None:
    indices = torch.tensor([[0, 2], [2, 3]]).t()
    tables, outputs = [], []
    for function in (embedding, torch.nn.functional.embedding):
        torch.manual_seed(0)
        weight = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
        before = weight.detach().clone()
        y = function(indices, weight, max_norm=0.7, norm_type=norm_type)
        y.backward(torch.ones_like(y))
        tables.append((weight.detach(), weight.grad))
        outputs.append(y.detach())
    torch.testing.assert_close(tables[0], tables[1], rtol=1e-12, atol=0)
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-12, atol=0)
    after = tables[0][0]
    assert (after[[0, 2, 3]].norm(norm_type, dim=1) <= 0.7 + 1e-6).all()
    assert after[[1, 4]].equal(before[[1, 4]])
    assert not after[0].equal(before[0])


def test_a_module_made_from_a_table_is_frozen_by_default() -> None:
    table = torch.randn(4, 3)
    frozen = nn.Embedding.from_pretrained(table)
    assert type(frozen) is nn.Embedding
    assert not frozen.weight.requires_grad
    assert not frozen(torch.tensor([1])).requires_grad
    tuned = nn.Embedding.from_pretrained(table, freeze=False, padding_idx=1)
    tuned(torch.tensor([1, 2])).sum().backward()
    assert tuned.weight.grad.tolist() == [[0] * 3, [0] * 3, [1] * 3, [0] * 3]


def test_a_new_table_has_zeros_in_its_padding_row() -> None:
    assert not nn.Embedding(4, 3, padding_idx=-1).weight[3].any()


def test_a_sparse_gradient_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="sparse"):
        embedding(torch.tensor([0]), torch.randn(2, 2), sparse=True)
    with pytest.raises(NotImplementedError, match="sparse"):
        nn.Embedding.from_pretrained(torch.randn(2, 2), sparse=True)


@pytest.mark.parametrize("padding_idx", [4, -5])
def test_a_padding_row_outside_of_the_table_is_refused(padding_idx: int) -> None:
    with pytest.raises(ValueError, match=f"padding_idx is {padding_idx}, expected one of the 4"):
        embedding(torch.tensor([0]), torch.zeros(4, 3), padding_idx)


def test_what_is_no_index_or_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"input has dtype torch\.float32"):
        embedding(torch.zeros(2), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"weight the shape \[4\]"):
        embedding(torch.tensor([0]), torch.zeros(4))


def test_an_index_outside_of_the_table_is_an_error() -> None:
    with pytest.raises(IndexError, match="out of range"):
        embedding(torch.tensor([4]), torch.zeros(4, 3))
