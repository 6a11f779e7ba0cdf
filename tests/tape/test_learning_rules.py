"""Learning rules on the tape: their definitions written out, what they leave alone, refusals."""

import importlib
import pkgutil
from collections.abc import Callable

import pytest
import torch
from networks import NETWORKS
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from bptrain import nn, ops
from bptrain.errors import UsageError
from bptrain.ops.operation import Operation
from bptrain.tape import Step
from bptrain.tape.calls import Like
from bptrain.tape.learning_rules.feedback import Feedback, glorot_std
from bptrain.tape.learning_rules.feedback_alignment import FeedbackAlignment
from bptrain.tape.learning_rules.forward_gradient import ForwardRun
from bptrain.tape.learning_rules.rule import RuleName, learning_rule
from bptrain.tape.learning_rules.step import StepByRule
from bptrain.tape.learning_rules.weights import CHANGED

Send = Callable[[str, Tensor, Tensor, Tensor], Tensor]  # layer, y', W and the error e -> x'
BACKWARD: tuple[RuleName, ...] = (
    "feedback_alignment",
    "direct_feedback_alignment",
    "sign_symmetry",
)
RULES: tuple[RuleName, ...] = (*BACKWARD, "forward_gradient")
SEED = 5


def perceptron() -> torch.nn.Sequential:
    layers = [nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)]
    return torch.nn.Sequential(*layers).double()


def convolutional() -> torch.nn.Sequential:
    layers = [nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU()]
    return torch.nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 2 * 2, 3)).double()


def by_rule(model: torch.nn.Module, rule: RuleName, **options: str) -> StepByRule:
    return StepByRule(model, nn.CrossEntropyLoss(), learning_rule(rule, SEED), **options)


def found(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def error_of(y: Tensor, t: Tensor) -> Tensor:
    """Return the gradient of the mean cross-entropy by its logits."""
    return (y.softmax(1) - F.one_hot(t, y.shape[1])) / len(y)


def feedback(name: str, shape: tuple[int, ...]) -> Tensor:
    like = Like(torch.Size(shape), torch.float64, torch.device("cpu"))
    return Feedback(SEED).matrix(f"feedback {name}", like)


def of_linear(rule: RuleName, layer: str, grad_y: Tensor, W: Tensor, e: Tensor) -> Tensor:
    """Return what a linear layer sends back, as the papers write it."""
    if rule == "feedback_alignment":
        return grad_y @ feedback(layer, W.shape)
    if rule == "direct_feedback_alignment":
        return e @ feedback(layer, (e.shape[1], W.shape[1]))
    return grad_y @ (W.sign() * (2 / (W.shape[0] + W.shape[1])) ** 0.5)


@pytest.mark.parametrize("rule", BACKWARD)
def test_a_perceptron_gets_what_the_rule_says(rule: RuleName) -> None:
    torch.manual_seed(0)
    model, x, t = perceptron(), torch.randn(4, 6).double(), torch.tensor([0, 2, 1, 1])
    by_rule(model, rule)(x, t)
    first, _, second, _, last = model
    with torch.no_grad():
        h = first(x).tanh()
        k = second(h).relu()
        e = error_of(last(k), t)
        to_second = of_linear(rule, "4", e, last.weight, e) * (k > 0)
        to_first = of_linear(rule, "2", to_second, second.weight, e) * (1 - h**2)
    expected = {
        "0.weight": to_first.T @ x, "0.bias": to_first.sum(0), "2.weight": to_second.T @ h,
        "2.bias": to_second.sum(0), "4.weight": e.T @ k, "4.bias": e.sum(0),
    }  # fmt: skip
    torch.testing.assert_close(found(model), expected)


@pytest.mark.parametrize("kernels", ["fused", "formula"])
@pytest.mark.parametrize("rule", BACKWARD)
def test_a_convolutional_network_gets_what_the_rule_says(rule: RuleName, kernels: str) -> None:
    torch.manual_seed(0)
    model, t = convolutional(), torch.tensor([0, 2, 1])
    x = torch.randn(3, 2, 8, 8).double()
    with ops.kernels.use_kernels(kernels):
        by_rule(model, rule)(x, t)
    first, _, second, _, _, last = model
    with torch.no_grad():
        h = first(x).relu()
        k = second(h).relu()
        e = error_of(last(k.flatten(1)), t)
        to_second = of_linear(rule, "5", e, last.weight, e).view(k.shape) * (k > 0)
        W = second.weight
        if rule == "direct_feedback_alignment":
            to_first = (e @ feedback("2", (3, h[0].numel()))).view(h.shape) * (h > 0)
        else:
            signs = W.sign() * (2 / (9 * (3 + 4))) ** 0.5
            B = signs if rule == "sign_symmetry" else feedback("2", W.shape)
            to_first = conv2d_input(h.shape, B, to_second) * (h > 0)
    expected = {
        "0.weight": conv2d_weight(x, first.weight.shape, to_first, stride=2, padding=1),
        "0.bias": to_first.sum((0, 2, 3)), "2.weight": conv2d_weight(h, W.shape, to_second),
        "2.bias": to_second.sum((0, 2, 3)), "5.weight": e.T @ k.flatten(1), "5.bias": e.sum(0),
    }  # fmt: skip
    torch.testing.assert_close(found(model), expected)


@pytest.mark.parametrize("made", [perceptron, convolutional])
def test_a_forward_gradient_is_a_slope_times_its_direction(
    made: Callable[[], torch.nn.Module],
) -> None:
    torch.manual_seed(0)
    model, t = made(), torch.tensor([0, 2, 1])
    x = torch.randn(3, 6).double() if made is perceptron else torch.randn(3, 2, 8, 8).double()
    step = by_rule(model, "forward_gradient")
    run = step.begin((x,), (t,))
    assert isinstance(run, ForwardRun)
    run.forward()
    assert run.saved == [None] * len(run.program.entries)  # nothing is kept for a backward pass
    loss = run.loss()
    run.backward(lambda loss: 3 * loss)
    directions = dict(zip(model.parameters(), run.directions, strict=True))

    def loss_at(distance: float) -> float:
        moved = {n: p + distance * directions[p] for n, p in model.named_parameters()}
        with torch.no_grad():
            y = torch.func.functional_call(model, moved, (x,))
            return float(F.cross_entropy(y, t))

    slope = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6
    assert float(loss) == pytest.approx(loss_at(0.0))
    for parameter, direction in directions.items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 3 * slope * direction, rtol=1e-6, atol=1e-8)


def test_the_mean_of_forward_gradients_is_the_gradient() -> None:
    torch.manual_seed(0)
    model, x, t = torch.nn.Sequential(nn.Linear(3, 2)), torch.randn(8, 3), torch.randint(2, (8,))
    step = by_rule(model, "forward_gradient")
    for _ in range(200):
        step(x, t)
    ours = torch.cat([each.flatten() for each in found(model).values()]) / 200
    model.zero_grad()
    Step(model, nn.CrossEntropyLoss())(x, t)
    true = torch.cat([each.flatten() for each in found(model).values()])
    # 8 weights: the error's norm is about |gradient| sqrt(9 / 200), 0.2 of it
    assert (ours - true).norm() < 0.4 * true.norm()


def test_feedback_by_the_weights_themselves_is_backpropagation() -> None:
    torch.manual_seed(0)
    model, x, t = convolutional(), torch.randn(3, 2, 8, 8).double(), torch.tensor([0, 2, 1])
    rule = FeedbackAlignment(SEED)
    for name, p in model.named_parameters():
        rule.feedback.drawn[f"feedback {name[0]}", Like.of(p)] = p.detach()
    StepByRule(model, nn.CrossEntropyLoss(), rule)(x, t)
    ours = found(model)
    model.zero_grad()
    Step(model, nn.CrossEntropyLoss())(x, t)
    for name, gradient in found(model).items():
        assert torch.equal(ours[name], gradient), name


def test_one_hidden_layer_learns_alike_by_both_alignments() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    x, t = torch.randn(4, 6), torch.tensor([0, 2, 1, 1])
    by_rule(model, "feedback_alignment")(x, t)
    ours = found(model)
    model.zero_grad()
    by_rule(model, "direct_feedback_alignment")(x, t)
    torch.testing.assert_close(found(model), ours)


def test_matrices_are_functions_of_seed_layer_and_shape() -> None:
    like = Like(torch.Size((300, 200)), torch.float32, torch.device("cpu"))
    one = Feedback(1).matrix("a", like)
    assert torch.equal(one, Feedback(1).matrix("a", like))
    assert not torch.equal(one, Feedback(2).matrix("a", like))
    assert not torch.equal(one, Feedback(1).matrix("b", like))
    narrow = Like(like.shape, torch.bfloat16, like.device)
    assert torch.equal(Feedback(1).matrix("a", narrow), one.bfloat16())
    assert float(one.std()) == pytest.approx((2 / 500) ** 0.5, rel=0.02)
    assert glorot_std((8, 4, 3, 3)) == pytest.approx((2 / (9 * 12)) ** 0.5)


@pytest.mark.parametrize("rule", BACKWARD[:2])
def test_batches_of_every_size_share_the_matrices(rule: RuleName) -> None:
    torch.manual_seed(0)
    model = perceptron()
    step = by_rule(model, rule)
    sizes = [
        step.matrices((torch.randn(n, 6).double(),), (torch.zeros(n, dtype=torch.long),))
        for n in (4, 3)
    ]
    assert list(sizes[0]) == ["feedback 2", "feedback 4"]
    assert all(torch.equal(sizes[0][name], sizes[1][name]) for name in sizes[0])


def test_each_call_of_a_shared_layer_has_a_matrix_of_its_own() -> None:
    torch.manual_seed(0)
    model, loss, inputs, targets = NETWORKS["shared weights"]()
    step = StepByRule(model, loss, FeedbackAlignment(SEED))
    matrices = step.matrices(inputs, targets)
    assert list(matrices) == ["feedback linear 2", "feedback linear 3", "feedback last"]
    assert not torch.equal(matrices["feedback linear 2"], matrices["feedback linear 3"])


@pytest.mark.parametrize("rule", BACKWARD)
def test_the_text_of_a_rule_gives_what_the_rule_gives(rule: RuleName) -> None:
    torch.manual_seed(0)
    model, x, t = convolutional(), torch.randn(3, 2, 8, 8).double(), torch.tensor([0, 2, 1])
    step = by_rule(model, rule)
    loss = step(x, t)
    tensors = dict(model.named_parameters()) | step.matrices((x,), (t,))
    names: dict = {}
    exec(step.text((x,), (t,)), names)
    with torch.no_grad():
        value, gradients = names["step"](x, t, tensors)
    assert torch.equal(value, loss)
    for name, gradient in found(model).items():
        assert torch.equal(gradients[name], gradient), name


@pytest.mark.parametrize("checkpointing", ["blocks", "sqrt"])
@pytest.mark.parametrize("rule", BACKWARD)
def test_checkpointing_changes_nothing(rule: RuleName, checkpointing: str) -> None:
    torch.manual_seed(0)
    model, _, inputs, targets = NETWORKS["mlp, batch norm, dropout"]()
    state = torch.get_rng_state()
    by_rule(model, rule)(inputs, *targets)
    plain = found(model)
    model.zero_grad()
    torch.set_rng_state(state)
    by_rule(model, rule, checkpointing=checkpointing)(inputs, *targets)
    for name, gradient in found(model).items():
        assert torch.equal(gradient, plain[name]), name


@pytest.mark.parametrize("rule", RULES)
def test_a_comparison_with_the_gradient_leaves_no_trace(rule: RuleName) -> None:
    torch.manual_seed(0)
    model, _, inputs, targets = NETWORKS["mlp, batch norm, dropout"]()
    step = by_rule(model, rule)
    step(inputs, *targets)
    before, state = found(model), torch.get_rng_state()
    buffers = {name: each.clone() for name, each in model.named_buffers()}
    compared = step.compared(inputs, targets, lambda loss: loss)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(each, buffers[name]) for name, each in model.named_buffers())
    assert all(torch.equal(each, before[name]) for name, each in found(model).items())
    # both drew the same dropout: the last layer's gradient is the same by every backward rule
    last = model.output.weight
    assert compared.gradient[last] is not None
    assert torch.equal(compared.by_rule[last], compared.gradient[last]) == (rule in BACKWARD)


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_follow_autocast(rule: RuleName) -> None:
    torch.manual_seed(0)
    model = perceptron().float()
    x, t = torch.randn(16, 6), torch.randint(3, (16,))
    step = by_rule(model, rule)
    state = torch.get_rng_state()
    step(x, t)
    wide = found(model)
    model.zero_grad()
    torch.set_rng_state(state)
    with torch.autocast("cpu", torch.bfloat16):
        step(x, t)
    for name, each in found(model).items():
        assert each.dtype == torch.float32
        assert (each - wide[name]).norm() < 0.2 * wide[name].norm(), name


def test_weights_come_to_lie_within_reach_of_the_feedback() -> None:
    """Lillicrap's task: a linear map to be learned by two layers, the error through B."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(nn.Linear(30, 20, bias=False), nn.Linear(20, 10, bias=False))
    step = StepByRule(model, nn.MSELoss(), FeedbackAlignment(SEED))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    map_to_learn = torch.randn(10, 30) / 30**0.5
    angles, losses = [], []
    for _ in range(400):
        x = torch.randn(64, 30)
        ours, true = step.compared((x,), (x @ map_to_learn.T,), lambda loss: loss)
        a, b = ours[model[0].weight], true[model[0].weight]
        assert a is not None
        assert b is not None
        angles.append(float(F.cosine_similarity(a.flatten(), b.flatten(), 0).acos().rad2deg()))
        optimizer.zero_grad()
        losses.append(float(step(x, x @ map_to_learn.T)))
        optimizer.step()
    assert 80 < angles[0] < 100
    assert sum(angles[-20:]) / 20 < 60
    assert losses[-1] < 0.2 * losses[0]


class Own(torch.nn.Module):
    """A layer of two numbers by bilinear weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.own, self.last = nn.Linear(5, 4), nn.Bilinear(4, 4, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        output: Tensor = self.last(self.own(h, h))
        return output


class Second(Own):
    """The same, whose bilinear layer reads what was computed as its second input alone."""

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(self.own(x[:, :4], self.first(x)))
        return output


class LossWithALayer(torch.nn.Module):
    """A loss that has weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.loss = nn.Linear(3, 3), nn.CrossEntropyLoss()

    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        loss: Tensor = self.loss(self.layer(y), t)
        return loss


def test_no_error_is_sent_to_a_layer_after_the_output() -> None:
    model, x, t = perceptron().float(), torch.randn(4, 6), torch.tensor([0, 2, 1, 1])
    rule = learning_rule("direct_feedback_alignment", SEED)
    with pytest.raises(UsageError) as raised:
        StepByRule(model, LossWithALayer(), rule)(x, t)
    assert raised.value.why == "loss.layer is a layer of the loss, after the output"


def test_weights_that_are_no_layer_of_the_rule_are_refused() -> None:
    x, t = torch.randn(4, 5), torch.tensor([0, 2, 1, 1])
    with pytest.raises(UsageError, match="no step by sign_symmetry") as raised:
        by_rule(Own(), "sign_symmetry")(x, t)
    assert raised.value.why.startswith("own (bilinear) sends errors back through weights")
    with pytest.raises(UsageError) as raised:
        by_rule(Second(), "feedback_alignment")(x, t)
    assert raised.value.why.startswith("own (bilinear) sends errors back through weights")
    for rule in BACKWARD:
        model, loss, inputs, targets = NETWORKS["lstm, two layers"]()
        with pytest.raises(UsageError) as raised:
            StepByRule(model, loss, learning_rule(rule, SEED))(inputs, *targets)
        assert raised.value.why.startswith("lstm (bptt)")


def test_every_operation_with_weights_is_changed_or_refused() -> None:
    names = [each.name for each in pkgutil.iter_modules(ops.__path__)]
    modules = [importlib.import_module(f"bptrain.ops.{name}") for name in names]
    with_weights = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Operation) and any(name.startswith("W") for name in value.inputs)
    }
    refused = {"bilinear", "bptt", "conv_relu", "linear_cross_entropy", "linear_relu"}
    # an embedding sends nothing back: its indices have no gradient
    assert {each.name for each in with_weights - {*CHANGED}} == {*refused, "embedding"}


def test_a_wrong_slope_is_refused() -> None:
    """Torch's forward mode loses derivatives in the lines of an LSTM, which write in place."""
    torch.manual_seed(0)
    model, loss, inputs, targets = NETWORKS["lstm, two layers"]()
    step = StepByRule(model, loss, learning_rule("forward_gradient", SEED))
    with ops.kernels.use_kernels("formula"), pytest.raises(UsageError) as raised:
        step(inputs, *targets)
    assert raised.value.why.endswith("torch loses derivatives in one of its lines")


def test_a_kernel_without_forward_mode_is_refused() -> None:
    torch.manual_seed(0)
    model, loss, inputs, targets = NETWORKS["attention"]()
    step = StepByRule(model, loss, learning_rule("forward_gradient", SEED))
    with pytest.raises(UsageError, match="no step by forward_gradient") as raised:
        step(inputs, *targets)
    assert raised.value.why.startswith("torch has no forward mode of _scaled_dot_product")
    with ops.kernels.use_kernels("formula"):
        step(inputs, *targets)
    assert found(model)


class Sine(torch.nn.Module):
    """A function of torch's that is no operation of bptrain."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


@pytest.mark.parametrize("rule", RULES)
def test_nothing_falls_back_to_backpropagation(rule: RuleName) -> None:
    x, t = torch.randn(4, 5), torch.tensor([0, 2, 1, 1])
    foreign = torch.nn.Sequential(nn.Linear(5, 4), Sine(), nn.Linear(4, 3))
    step = by_rule(foreign, rule)
    for _ in range(2):  # the second time, too
        with pytest.raises(UsageError, match=f"no step by {rule}"):
            step(x, t)
    varying, loss, inputs, targets = NETWORKS["lstm, packed"]()
    with pytest.raises(UsageError) as raised:
        StepByRule(varying, loss, learning_rule(rule, SEED))(inputs, *targets)
    assert raised.value.why == "its step is another one for each batch"
    assert not found(foreign)


def test_an_error_is_sent_to_its_own_sample_alone() -> None:
    layers = [nn.Linear(5, 4), nn.Linear(4, 4), nn.Flatten(0, 1), nn.Linear(4, 3)]
    step = by_rule(torch.nn.Sequential(*layers), "direct_feedback_alignment")
    with pytest.raises(UsageError) as raised:
        step(torch.randn(2, 6, 5), torch.zeros(12).long())
    assert raised.value.why.startswith("1 reads [2, 6, 4] and the output is [12, 3]")


def test_a_recorded_step_stays_backpropagation() -> None:
    torch.manual_seed(0)
    model, x, t = perceptron(), torch.randn(4, 6).double(), torch.tensor([0, 2, 1, 1])
    text = by_rule(model, "sign_symmetry").text((x,), (t,), as_recorded=True)
    assert "sign_symmetry" not in text
    assert text == Step(model, nn.CrossEntropyLoss()).text((x,), (t,), as_recorded=True)
