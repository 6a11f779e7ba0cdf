"""A linear model of a table, by scikit-learn: logistic regression, or of numbers ridge."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bptrain.data.splits import Samples
from bptrain.experiment.data_facts import SMALLEST_SHARE
from bptrain.losses import BaseLossConfig
from bptrain.problem import Problem

MOST_ROWS = 20_000  # that a linear model is fitted to
MOST_PRODUCTS = 10**7  # of an iteration, rows x columns x outputs: some 20 ms on a core
FEWEST_ROWS = 100  # a model fitted to fewer, of more that there are, says nothing
MOST_ITERATIONS = 200


@dataclass(frozen=True)
class Linear:
    """A linear model of samples [N, I]: weights [I, O] and bias [O], in float64.

    loss  of classes, whose outputs the model's log-probabilities are turned into
    """

    name: str
    weights: Tensor
    bias: Tensor
    loss: BaseLossConfig | None
    note: str = ""

    def outputs(self, inputs: tuple[Any, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Return the outputs of the samples."""
        rows: Tensor = inputs[0]
        found: Tensor = rows.double() @ self.weights.to(rows.device) + self.bias.to(rows.device)
        if self.loss is None:
            return found
        shares = found.softmax(-1).clamp(SMALLEST_SHARE, 1 - SMALLEST_SHARE)
        return self.loss.outputs_meaning(shares)


def linear_model(train: Samples, problem: Problem, loss: BaseLossConfig) -> Iterator[Linear]:
    """Yield logistic or ridge regression of a table's rows, unless it cannot be fitted in time."""
    rows = rows_to_fit(len(train), train.inputs.shape[1], problem.outputs)
    if rows is None:
        return
    chosen = train.rows(rows.to(train.inputs.device)).to(torch.device("cpu"))
    x, y = chosen.inputs.double().numpy(), chosen.targets.numpy()
    note = "" if len(rows) == len(train) else f"fitted to {len(rows):,} of {len(train):,} rows"
    # scikit-learn's models take half a second to import: at the end of a run, not at its start
    if problem.output_kind.targets == "numbers":
        from sklearn.linear_model import Ridge

        ridge = Ridge().fit(x, y.astype("float64"))
        weights = torch.from_numpy(ridge.coef_).double().reshape(problem.outputs, -1).T
        bias = torch.from_numpy(ridge.intercept_).double().reshape(-1)
        yield Linear("ridge_regression", weights, bias, None, note)
        return
    if len(classes := chosen.targets.unique()) < 2:
        return
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fit that is ended after MOST_ITERATIONS
        logistic = LogisticRegression(max_iter=MOST_ITERATIONS).fit(x, y)
    coefficients, intercept = map(torch.from_numpy, (logistic.coef_, logistic.intercept_))
    if len(classes) == 2:  # scikit-learn keeps the logit of the second class alone
        coefficients = torch.cat([torch.zeros_like(coefficients), coefficients])
        intercept = torch.cat([torch.zeros_like(intercept), intercept])
    weights = coefficients.new_zeros(x.shape[1], problem.outputs)
    weights[:, classes] = coefficients.T
    bias = intercept.new_full((problem.outputs,), -torch.inf)  # a class that is not in these rows
    bias[classes] = intercept
    yield Linear("logistic_regression", weights, bias, loss, note)


def rows_to_fit(samples: int, columns: int, outputs: int) -> Tensor | None:
    """Return the rows, evenly spaced, that a linear model is fitted to; None for too few."""
    count = min(samples, MOST_ROWS, MOST_PRODUCTS // (columns * outputs))
    if count < min(samples, FEWEST_ROWS):
        return None
    return torch.arange(count) * samples // count
