"""What is true of connectionist temporal classification beyond the table of cases."""

from itertools import groupby, product
from typing import Any

import pytest
import torch
from torch import Tensor

from bptrain.ops import ctc_loss
from bptrain.verify.finite_differences import TOLERANCE, gradcheck


def log_probabilities(T: int, N: int = 1, K: int = 3) -> Tensor:
    drawn = torch.randn(T, N, K, generator=torch.Generator().manual_seed(T + N + K))
    return drawn.double().log_softmax(-1)


def read(path: tuple[int, ...], blank: int) -> list[int]:
    return [label for label, _ in groupby(path) if label != blank]


@pytest.mark.parametrize("target", [[], [1], [1, 2], [1, 1], [2, 1, 2], [1, 1, 1]], ids=str)
@pytest.mark.parametrize("blank", [0, 2])
def test_it_is_the_sum_over_every_sequence_of_frames_that_reads_as_the_target(
    target: list[int], blank: int
) -> None:
    target = [(label + blank) % 3 for label in target]
    x = log_probabilities(5)[:, 0]
    total = torch.zeros(()).double()
    for path in product(range(3), repeat=5):
        if read(path, blank) == target:
            total += sum(x[t, k] for t, k in enumerate(path)).exp()
    loss = ctc_loss(x, torch.tensor(target), (5,), (len(target),), blank, reduction="sum")
    torch.testing.assert_close(loss, -total.log(), rtol=1e-12, atol=1e-12)


def test_the_gradient_of_log_probabilities_is_already_the_logits() -> None:
    logits = log_probabilities(6).requires_grad_()
    x = logits.detach().log_softmax(-1).requires_grad_()
    for given in (logits.log_softmax(-1), x):
        ctc_loss(given, torch.tensor([[1, 2]]), (6,), (2,)).backward()
    torch.testing.assert_close(x.grad, logits.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x.grad.sum(-1), torch.zeros(6, 1).double(), rtol=0, atol=1e-12)


def test_a_blank_among_the_labels_has_its_true_gradient() -> None:  # torch's is another
    def loss(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        x = tensors["x"].log_softmax(-1)
        return {"loss": ctc_loss(x, torch.tensor([[1, 0]]), (5,), (2,))}

    (found,) = gradcheck(loss, {"x": log_probabilities(5)}, ["x"], seed=0)
    assert found.relative_error <= TOLERANCE


def test_a_label_of_probability_zero_gets_no_gradient() -> None:
    x = log_probabilities(4)
    x[1, 0, 1] = -torch.inf
    x.requires_grad_()
    ctc_loss(x, torch.tensor([[1, 2]]), (4,), (2,)).backward()
    assert x.grad.isfinite().all()
    assert x.grad[1, 0, 1] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_summed_in_thirty_two(dtype: torch.dtype) -> None:
    narrow = log_probabilities(50).to(dtype).requires_grad_()
    wide = narrow.detach().float().requires_grad_()
    losses = [ctc_loss(x, torch.tensor([[1, 2, 1]]), (50,), (3,)) for x in (narrow, wide)]
    for loss in losses:
        loss.backward()
    assert losses[0].dtype == narrow.grad.dtype == dtype
    torch.testing.assert_close(losses[0], losses[1].to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(narrow.grad, wide.grad.to(dtype), rtol=0, atol=0)


def test_five_hundred_frames_err_no_more_than_torch() -> None:
    exact = torch.randn(500, 2, 20, generator=torch.Generator().manual_seed(0)).double()
    exact = exact.log_softmax(-1).float().double()
    target = torch.randint(1, 20, (2, 60), generator=torch.Generator().manual_seed(1))
    found = []
    for function, x in (
        (torch.nn.functional.ctc_loss, exact),
        (torch.nn.functional.ctc_loss, exact.float()),
        (ctc_loss, exact.float()),
    ):
        x = x.clone().requires_grad_()
        function(x, target, (500, 500), (60, 60)).backward()
        found.append(x.grad.double())
    truth, theirs, mine = found
    assert (mine - truth).norm() <= 1.5 * (theirs - truth).norm()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"log_probs": torch.zeros(3)}, "log_probs"),
        ({"log_probs": torch.zeros(3, 0, 4)}, "not empty"),
        ({"blank": 3}, "0 to 2"),
        ({"reduction": "avg"}, "'avg'"),
        ({"input_lengths": (5, 6)}, "from 0 to 5"),
        ({"input_lengths": (5, -1)}, "from 0 to 5"),
        ({"input_lengths": (5,)}, "expected 2 integers"),
        ({"input_lengths": torch.tensor([5.0, 5.0])}, "float32"),
        ({"target_lengths": torch.tensor([2, 3])}, "from 0 to 2"),
        ({"targets": torch.tensor([1, 2, 1])}, "target_lengths, 4"),
        ({"targets": torch.ones(3, 2, dtype=torch.int64)}, r"expected \[2, labels\]"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], message: str) -> None:
    right = {
        "log_probs": log_probabilities(5, 2),
        "targets": torch.ones(2, 2, dtype=torch.int64),
        "input_lengths": (5, 5),
        "target_lengths": (2, 2),
    }
    with pytest.raises(ValueError, match=message):
        ctc_loss(**right | wrong)
