"""Networks on inputs full of kinks, right ones and with planted errors, to try `check` on.

Drawn shapes, zero padding, constants, integers and one-hot vectors put whole regions on the kink of
a relu, the tie of a max or the corner of an absolute value.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain import nn
from bptrain.ops.operation import Operation, Passes, operations_behind
from bptrain.verify import Report, Sampling, check

IMAGE, VECTOR, SEQUENCE = (4, 1, 8, 8), (5, 6), (3, 5, 4)
FEW = Sampling(elements=6, directions=2)


class Network(NamedTuple):
    """How to make a network, and the shape of its input."""

    make: Callable[[], torch.nn.Module]
    shape: tuple[int, ...]


class Residual(torch.nn.Module):
    """A block whose last normalization starts at 0, so that what follows is at its kink."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = (
            nn.Conv2d(1, 1, 3, padding=1),
            nn.BatchNorm2d(1),
            nn.ReLU(),
        )
        torch.nn.init.zeros_(self.norm.weight)
        self.add = nn.Add()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.add(x, self.norm(self.conv(x))))


class Last(torch.nn.Module):
    """The outputs of a recurrent layer, without its state."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Attention(torch.nn.Module):
    """Self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


class Tokens(torch.nn.Module):
    """An embedding of the input as integers, the padding's among them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear = nn.Embedding(8, 5, padding_idx=0), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1]) % 3
        return self.linear(self.embedding(x.abs().round().long() + places))


class WithLoss(torch.nn.Module):
    """A network and a loss of targets that are computed from the input."""

    def __init__(self, loss: torch.nn.Module, outputs: int, kind: str) -> None:
        super().__init__()
        self.linear, self.loss, self.kind = nn.Linear(VECTOR[1], outputs), loss, kind

    def forward(self, x: Tensor) -> Tensor:
        target = {
            "classes": lambda: x.detach().argmax(1) % 3,
            "values": lambda: x.detach()[:, :1].round(),
        }[self.kind]()
        return self.loss(self.linear(x), target)


def cnn(
    norm: Callable[[], torch.nn.Module], pool: torch.nn.Module
) -> Callable[[], torch.nn.Module]:
    """Return what makes two blocks of convolution, normalization, relu and pooling, and a head."""

    def make() -> torch.nn.Module:
        return torch.nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), norm(), nn.ReLU(), pool,
            nn.Conv2d(4, 4, 3, padding=1, bias=False), norm(), nn.ReLU(), pool,
            nn.Flatten(), nn.Linear(16, 3),
        )  # fmt: skip

    return make


def mlp(activation: Callable[[], torch.nn.Module], norm: Any = None) -> Callable[..., Any]:
    """Return what makes a perceptron."""

    def make() -> torch.nn.Module:
        between = [] if norm is None else [norm(7)]
        return torch.nn.Sequential(
            nn.Linear(6, 7), *between, activation(), nn.Linear(7, 4), activation(), nn.Linear(4, 3)
        )

    return make


NETWORKS = {
    "mlp relu": Network(mlp(nn.ReLU), VECTOR),
    "mlp batch norm": Network(mlp(nn.ReLU, nn.BatchNorm1d), VECTOR),
    "mlp layer norm": Network(mlp(nn.LeakyReLU, nn.LayerNorm), VECTOR),
    "mlp hardtanh": Network(mlp(nn.Hardtanh), VECTOR),
    "mlp hardswish": Network(mlp(nn.Hardswish), VECTOR),
    "relu of the input": Network(
        lambda: torch.nn.Sequential(nn.ReLU(), nn.Linear(6, 3), nn.Tanh()), VECTOR
    ),
    "cnn batch norm": Network(cnn(lambda: nn.BatchNorm2d(4), nn.MaxPool2d(2)), IMAGE),
    "cnn group norm": Network(cnn(lambda: nn.GroupNorm(2, 4), nn.MaxPool2d(2)), IMAGE),
    "cnn instance norm": Network(cnn(lambda: nn.InstanceNorm2d(4), nn.AvgPool2d(2)), IMAGE),
    "cnn no norm": Network(cnn(torch.nn.Identity, nn.MaxPool2d(2)), IMAGE),
    "max of the input": Network(
        lambda: torch.nn.Sequential(
            nn.MaxPool2d(3, 2), nn.Conv2d(1, 3, 2), nn.AdaptiveMaxPool2d(1), nn.Flatten()
        ),
        IMAGE,
    ),
    "residual": Network(lambda: torch.nn.Sequential(Residual(), Residual()), IMAGE),
    "lstm": Network(lambda: Last(nn.LSTM(4, 3, batch_first=True)), SEQUENCE),
    "gru": Network(lambda: Last(nn.GRU(4, 3, batch_first=True)), SEQUENCE),
    "rnn relu": Network(
        lambda: Last(nn.RNN(4, 3, nonlinearity="relu", batch_first=True)), SEQUENCE
    ),
    "attention": Network(Attention, SEQUENCE),
    "tokens": Network(Tokens, VECTOR),
    "cross-entropy": Network(lambda: WithLoss(nn.CrossEntropyLoss(), 3, "classes"), VECTOR),
    "l1": Network(lambda: WithLoss(nn.L1Loss(), 1, "values"), VECTOR),
    "smooth l1": Network(lambda: WithLoss(nn.SmoothL1Loss(), 1, "values"), VECTOR),
}  # fmt: skip


def drawn(shape: tuple[int, ...]) -> Tensor:
    """Return zeros with a block of ones in each sample, at another place."""
    x = torch.zeros(shape)
    for number, sample in enumerate(x):
        sample[..., number % 3 : number % 3 + 3] = 1
    return x


def integers(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(3)).float()


def one_hot(shape: tuple[int, ...]) -> Tensor:
    classes = torch.randint(shape[-1], shape[:-1], generator=torch.Generator().manual_seed(4))
    return torch.nn.functional.one_hot(classes, shape[-1]).float()


INPUTS: dict[str, Callable[[tuple[int, ...]], Tensor]] = {
    "drawn shapes": drawn,
    "zeros": torch.zeros,
    "constant": torch.ones,
    "integers": integers,
    "one-hot": one_hot,
}


def scaled(gradient: Tensor) -> Tensor:
    return gradient * 1.001


def negated(gradient: Tensor) -> Tensor:
    return -gradient


def zeroed(gradient: Tensor) -> Tensor:
    return torch.zeros_like(gradient)


def one_left_out(gradient: Tensor) -> Tensor:
    """Return the gradient without that of one sample, channel or row, the largest one."""
    changed = gradient.clone(memory_format=torch.contiguous_format)
    rows = changed.view(changed.shape[0], -1) if changed.dim() else changed.view(1, 1)
    rows[int(rows.abs().sum(1).argmax())] = 0
    return changed


def one_doubled(gradient: Tensor) -> Tensor:
    """Return the gradient with its largest element twice as large."""
    changed = gradient.clone(memory_format=torch.contiguous_format)
    changed.view(-1)[int(gradient.abs().argmax())] *= 2
    return changed


ERRORS = (scaled, negated, zeroed, one_left_out, one_doubled)


class Trial(NamedTuple):
    """A network on an input."""

    network: str
    inputs: str

    @property
    def label(self) -> str:
        return f"{self.network} on {self.inputs}"

    def module_and_input(self) -> tuple[torch.nn.Module, Tensor]:
        torch.manual_seed(0)
        network = NETWORKS[self.network]
        return network.make(), INPUTS[self.inputs](network.shape)

    def check(self) -> Report:
        """Return the report on the network."""
        return check(*self.module_and_input(), sampling=FEW)


TRIALS = [Trial(network, inputs) for inputs in INPUTS for network in NETWORKS]


@contextmanager
def planted(op: Operation[Any], error: Callable[[Tensor], Tensor], position: int) -> Iterator[None]:
    """Change one of the gradients that an operation's backward passes return."""
    before = op.formula, op.fused

    def wrong(passes: Passes) -> Passes:
        def backward(*args: Any) -> Any:
            found = passes.backward(*args)
            if isinstance(found, Tensor):
                return error(found)
            there = [k for k, each in enumerate(found) if each is not None]
            chosen = there[position % len(there)] if there else -1
            return tuple(error(each) if k == chosen else each for k, each in enumerate(found))

        return Passes(passes.forward, backward)

    op.formula = wrong(before[0])
    op.fused = op.formula if before[0] == before[1] else wrong(before[1])
    try:
        yield
    finally:
        op.formula, op.fused = before


def operations_of(trial: Trial) -> list[Operation[Any]]:
    """Return the operations of a trial's network, by name."""
    module, x = trial.module_and_input()
    return sorted(operations_behind([module(x.requires_grad_())]), key=lambda op: op.name)


@contextmanager
def with_an_error(trial: Trial, number: int) -> Iterator[str]:
    """Plant the error of this number into a trial's network, and say which."""
    operations = operations_of(trial)
    op = operations[number % len(operations)]
    error = ERRORS[number // 2 % len(ERRORS)]
    with planted(op, error, number // 3):
        yield f"{trial.label}: {op.name}, {error.__name__}"


def _kinked(
    value: Callable[[Tensor], Tensor], gradient: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return a function by its value and its gradient, a function of input and upstream."""

    class Kinked(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return value(x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return gradient(x, grad)

    return Kinked.apply


def _to_every_tie(x: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of a max, twice as large wherever two values are the largest."""
    largest = (x == x.amax(-1, keepdim=True)).to(x)
    return grad[..., None] * largest * torch.where(largest.sum(-1, keepdim=True) > 1, 2.0, 1.0)


WRONG_AT_KINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu, 1.5 at 0": _kinked(
        torch.relu, lambda x, grad: grad * torch.where(x == 0, 1.5, (x > 0).to(x))
    ),
    "relu, -1 at 0": _kinked(torch.relu, lambda x, grad: grad * ((x > 0).to(x) - (x == 0).to(x))),
    "abs, 2 at 0": _kinked(
        torch.abs, lambda x, grad: grad * torch.where(x == 0, 2.0, torch.sign(x))
    ),
    "max, every tie": _kinked(
        lambda x: x.amax(-1),
        _to_every_tie,
    ),
    "clamp, 3 at its ends": _kinked(
        lambda x: x.clamp(0, 1),
        lambda x, grad: grad * torch.where((x == 0) | (x == 1), 3.0, ((x > 0) & (x < 1)).to(x)),
    ),
}
UNDEFINED_AT_KINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs, NaN at 0": _kinked(torch.abs, lambda x, grad: grad * x / x.abs()),
    "square, infinite at 0": _kinked(
        torch.square, lambda x, grad: grad * torch.where(x == 0, torch.inf, 2 * x)
    ),
}
KINK_TRIALS = [
    (name, inputs)
    for name in (*WRONG_AT_KINKS, *UNDEFINED_AT_KINKS)
    for inputs in ("drawn shapes", "zeros", "one-hot")
    if (name, inputs) != ("max, every tie", "one-hot")  # which has no tie
]
