"""Each verdict, on a log that deserves it and on one that just does not."""

from typing import Any

import pytest
from small_files import CONFIGS

from bptrain import tags
from bptrain.config import load_config
from bptrain.experiment.config import ExperimentConfig
from bptrain.monitor.verdicts import History, Setup, Verdict, verdicts_on
from bptrain.monitor.verdicts.gradient_flow import remembers
from bptrain.monitor.verdicts.non_finite import not_finite

Lines = list[dict[str, Any]]
MLP = {
    "data": {"kind": "table", "scale_target": False},
    "model": {
        "kind": "mlp",
        "hidden": [32, 32],
        "activation": "sigmoid",
        "normalization": "none",
        "init": "default",
    },
    "optimizer": {"kind": "adam", "lr": 1e-3},
}
CHANCE = 2.0


def run(losses: list[float], **every: Any) -> Lines:
    """Return a log line for each loss, with the other tags given for all lines, `/` as `__`."""
    constant = {tag.replace("__", "/"): value for tag, value in every.items()}
    lines: Lines = [
        {"step": 10 * (n + 1), tags.TRAIN_LOSS: loss, tags.LEARNING_RATE: 1e-3, **constant}
        for n, loss in enumerate(losses)
    ]
    lines[0] |= {tags.CHANCE_LOSS: CHANCE, tags.CLASSES: 4.0}
    return lines


def layers(early: float, late: float = 1.0, update: float = 1e-3) -> dict[str, float]:
    """Return what is observed of two layers: the gradient at both, and the updates."""
    return {
        tags.activation_gradient("linear1"): early,
        tags.activation_gradient("output"): late,
        tags.update_ratio("linear1"): update,
        tags.update_ratio("output"): update,
    }


FLAT, FALLING = [2.0] * 8, [2.0, 1.8, 1.6, 1.3, 1.0, 0.8, 0.6, 0.5]


def judged(lines: Lines, **config: Any) -> list[Verdict]:
    return verdicts_on(History(lines), Setup({**MLP, **config}))


def kinds(lines: Lines, **config: Any) -> list[str]:
    return [each.kind for each in judged(lines, **config)]


def test_a_run_that_learns_has_no_verdict() -> None:
    assert judged(run(FALLING, **layers(0.3))) == []
    assert judged([]) == []


def test_few_lines_say_nothing_of_learning() -> None:
    assert judged(run(FLAT[:3], **layers(1e-9))) == []


def test_vanishing_is_named_by_the_layer_nearest_the_output() -> None:
    lines = run(FLAT, **layers(1e-7))
    for line in lines:
        middle = {tags.activation_gradient(n): v for n, v in (("a", 1e-7), ("b", 1e-5), ("c", 0.1))}
        line |= {**middle, tags.activation_gradient("d"): 1.0}
        del line[tags.activation_gradient("linear1")], line[tags.activation_gradient("output")]
    (verdict,) = judged(lines)
    assert (verdict.kind, verdict.layer, verdict.step) == ("vanishing", "b", 80)
    assert verdict.evidence["ratio"] == pytest.approx(1e-5)
    assert verdict.advice == (
        "model.activation=relu",
        "model.normalization=batch",
        "model.init=kaiming",
    )


def test_a_small_gradient_that_learns_has_not_vanished() -> None:
    assert kinds(run(FLAT, **layers(0.9e-3))) == ["vanishing"]
    assert kinds(run(FLAT, **layers(1.1e-3))) == ["no_learning"]
    assert kinds(run(FALLING, **layers(1e-9))) == []


@pytest.mark.parametrize(("layer", "flips"), [("rnn.l0", False), ("rnn.l0_reverse", True)])
def test_vanishing_over_time_is_told_in_the_order_of_reading(layer: str, flips: bool) -> None:
    series = [10.0 ** (n - 19) for n in range(20)]
    tag = tags.time_gradient(layer)
    vanishing = run(FLAT, **{**layers(1.0), tag: series[::-1] if flips else series})
    (verdict,) = judged(vanishing, model={"kind": "rnn", "cell": "rnn", "init": "default"})
    assert (verdict.kind, verdict.layer) == ("vanishing", layer)
    exploding = run(FLAT, **{**layers(1.0), tag: series if flips else series[::-1]})
    (verdict,) = judged(exploding, model={"kind": "rnn", "cell": "rnn"})
    assert (verdict.kind, verdict.layer) == ("exploding", layer)


@pytest.mark.parametrize(
    ("init", "steps", "advice"),
    [
        ("default", 100, ("model.init=orthogonal",)),
        ("default", 101, ("model.cell=lstm", "model.forget_bias=4.6", "model.init=orthogonal")),
        ("orthogonal", 30, ("model.cell=lstm", "model.forget_bias=3.4")),  # log 30
    ],
)
def test_orthogonal_weights_are_enough_for_a_hundred_time_steps(
    init: str, steps: int, advice: tuple[str, ...]
) -> None:
    lines = run(FLAT, **{**layers(1.0), tags.time_gradient("rnn"): [1e-9] * 10 + [1.0] * 10})
    lines[0][tags.TIME_STEPS] = float(steps)
    model = {"kind": "rnn", "cell": "rnn", "init": init}
    assert [each.advice for each in judged(lines, model=model)] == [advice]
    lines = run(FLAT, **{**layers(1.0), tags.time_gradient("rnn"): [1.0] * 10 + [1e-9] * 10})
    lines[0][tags.TIME_STEPS] = float(steps)
    clipped = (*advice, "train.clip_grad_norm=1.0")
    assert [each.advice for each in judged(lines, model=model)] == [clipped]


def test_gates_may_be_closed_at_first() -> None:
    series = [10.0 ** (n / 4 - 19 / 4) for n in range(20)]
    lines = run(FLAT, **{**layers(1.0), tags.time_gradient("lstm"): series})
    assert kinds(lines, model={"kind": "rnn", "cell": "rnn"}) == ["vanishing"]
    assert kinds(lines, model={"kind": "rnn", "cell": "lstm"}) == ["no_learning"]
    longer = run(FLAT, **{**layers(1.0), tags.time_gradient("lstm"): [s**2 for s in series]})
    (verdict,) = judged(longer, model={"kind": "rnn", "cell": "lstm", "forget_bias": None})
    assert (verdict.kind, verdict.advice) == ("vanishing", remembers(History([]), Setup()))


def test_exploding_explains_a_loss_that_diverges() -> None:
    losses = [100.0, 200.0, 500.0, 800.0, 900.0]
    assert kinds(run(losses, **layers(2e3))) == ["exploding"]
    assert kinds(run(losses, **layers(0.9e3))) == ["learning_rate_too_high"]
    assert kinds(run([5.0, 5.0, 19.0, 20.0, 21.0], **layers(1.0))) == ["divergence"]


def test_a_rate_far_above_a_usual_one_is_lowered_where_gradients_explode() -> None:
    high = {"kind": "adam", "lr": 3.0}
    (verdict,) = judged(run(FLAT, **layers(2e3)), optimizer=high)
    assert verdict.advice[-2:] == ("train.clip_grad_norm=1.0", "optimizer.lr=0.001")


def test_dead_units_and_saturation_name_the_first_layer() -> None:
    shares = {tags.dead_units("relu1"): 0.3, tags.dead_units("relu2"): 0.95}
    (verdict,) = judged(run(FLAT, **{**layers(0.5), **shares}))
    assert (verdict.kind, verdict.layer) == ("dead", "relu2")
    shares = {tags.saturated("tanh1"): 0.7, tags.saturated("tanh2"): 0.9}
    (verdict,) = judged(run(FALLING, **{**layers(0.5), **shares}))
    assert (verdict.kind, verdict.layer) == ("saturation", "tanh1")


def test_gates_that_close_while_a_network_learns_are_not_saturated() -> None:
    lines = run(FALLING, **layers(0.5))
    for number, line in enumerate(lines):
        line[tags.saturated("lstm")] = 0.1 * number + 0.1
    assert judged(lines) == []


def test_learning_rates_are_judged_by_updates_and_by_the_first_loss() -> None:
    (high,) = judged(run(FLAT, **layers(1.0, update=0.4)), optimizer={"kind": "adam", "lr": 1.0})
    assert (high.kind, high.advice) == ("learning_rate_too_high", ("optimizer.lr=0.001",))
    (low,) = judged(run(FLAT, **layers(1.0, update=1e-7)), optimizer={"kind": "sgd", "lr": 1e-6})
    assert (low.kind, low.advice) == ("learning_rate_too_low", ("optimizer.lr=0.05",))
    assert kinds(run([6.1, *FLAT], **layers(1.0))) == ["learning_rate_too_high"]
    assert kinds(run([5.9, *FLAT], **layers(1.0))) == ["no_learning"]


def grown(layer: str, growth: float, losses: list[float] = FLAT) -> Lines:
    """Return a log whose first line says how much a layer had grown until then, a step."""
    lines = run(losses, **layers(0.5))
    lines[0] |= {tags.weight_growth("linear1"): 0.01, tags.weight_growth(layer): growth}
    return [{**line, tags.saturated("rnn"): 0.9} for line in lines]


def test_weights_that_the_first_steps_threw_away_tell_of_the_rate_not_of_saturation() -> None:
    for kind in ("adam", "sgd"):
        high = {"kind": kind, "lr": 1.0}
        (verdict,) = judged(grown("rnn", 0.4), optimizer=high)
        assert (verdict.kind, verdict.evidence["update_ratio"]) == ("learning_rate_too_high", 0.4)
        assert kinds(grown("rnn", 0.2), optimizer=high) == ["saturation"]


def test_a_run_that_learns_after_all_has_lost_its_first_weights_if_its_loss_says_so_too() -> None:
    high = {"kind": "adam", "lr": 20.0}
    both = grown("rnn", 15.0, [9000.0, *FALLING])
    assert kinds(both, optimizer=high) == ["learning_rate_too_high"]
    assert kinds(grown("rnn", 15.0, FALLING), optimizer=high) == ["saturation"]
    assert kinds(run([9000.0, *FALLING], **layers(0.5)), optimizer=high) == []


def test_steps_of_sgd_that_are_large_at_a_usual_rate_tell_of_the_gradient() -> None:
    usual = {"optimizer": {"kind": "sgd", "lr": 0.05}, "model": {"kind": "rnn", "cell": "rnn"}}
    (verdict,) = judged(grown("rnn", 5.0), **usual)
    assert (verdict.kind, verdict.layer) == ("exploding", "rnn")
    assert "train.clip_grad_norm=1.0" in verdict.advice
    assert kinds(grown("rnn", 0.2), **usual) == ["saturation"]
    assert kinds(grown("rnn", 5.0, FALLING), **usual) == ["saturation"]  # but it learns


def test_weights_that_are_too_large_are_moved_at_no_less_than_a_usual_rate() -> None:
    lines = run(FLAT, **{**layers(0.5), tags.saturated("tanh1"): 0.9})
    (verdict,) = judged(lines, optimizer={"kind": "adam", "lr": 1e-4})
    assert verdict.advice[-1] == "optimizer.lr=0.001"
    (verdict,) = judged(lines, optimizer={"kind": "adam", "lr": 3e-3})
    assert verdict.advice[-1] == "model.init=kaiming"


def test_a_saturated_rnn_that_is_orthogonal_already_is_to_remember_by_gates() -> None:
    lines = run(FLAT, **{**layers(0.5), tags.saturated("rnn"): 0.9})
    lines[0][tags.TIME_STEPS] = 100.0
    model = {"kind": "rnn", "cell": "rnn", "init": "orthogonal"}
    (verdict,) = judged(lines, model=model)
    assert verdict.advice == ("model.cell=lstm", "model.forget_bias=4.6")
    (verdict,) = judged(lines, model=model, optimizer={"kind": "sgd", "lr": 0.05})
    assert verdict.advice[2:] == ("optimizer.lr=0.5", "train.clip_grad_norm=1.0")
    assert judged(lines, model={**model, "cell": "lstm"})[0].advice == ()


def test_gates_need_a_larger_rate_of_sgd() -> None:
    lines = run(FLAT, **layers(1.0, update=0.4))
    model = {"kind": "rnn", "cell": "gru", "init": "orthogonal"}
    (verdict,) = judged(lines, model=model, optimizer={"kind": "sgd", "lr": 50.0})
    assert verdict.advice == ("optimizer.lr=0.5", "train.clip_grad_norm=1.0")


def test_a_linear_model_whose_loss_stands_still_has_learned_what_it_can() -> None:
    linear = {"kind": "mlp", "hidden": []}
    (verdict,) = judged(run([1.9, *[1.75] * 9]), model=linear)
    assert (verdict.kind, verdict.advice) == ("no_learning", ("model.hidden=[32]",))
    assert kinds(run([1.9, *[1.65] * 9]), model=linear) == []  # below 85 % of chance
    assert kinds(run([2.0, *[1.93] * 5, *[1.72] * 3]), model=linear) == []  # still falls
    assert kinds(run([1.9, *[1.75] * 9])) == []  # not linear: what is missing is not known


@pytest.mark.parametrize(
    ("step", "rate", "advice"),
    [
        (2, 1e-3, ("model.activation=relu", "model.normalization=batch", "model.init=kaiming")),
        (2, 1.0, ("optimizer.lr=0.001",)),
        (11, 1e-3, ("optimizer.lr=0.0001",)),
    ],
)
def test_a_usual_rate_is_not_to_blame_for_what_the_first_steps_hold(
    step: int, rate: float, advice: tuple[str, ...]
) -> None:
    setup = Setup({**MLP, "optimizer": {"kind": "adam", "lr": rate}})
    verdict = not_finite(step, "the loss is nan", "", setup)
    assert verdict.advice == (*advice, "train.clip_grad_norm=1.0")


def test_a_rate_that_falls_too_early_leaves_a_plateau() -> None:
    lines = run([2.0, 1.6, *[1.4] * 8], **layers(1.0))
    assert kinds(lines) == []
    for line in lines[3:]:
        line[tags.LEARNING_RATE] = 1e-6
    assert kinds(lines) == ["plateau"]


@pytest.mark.parametrize(("rms", "found"), [(0.01, True), (0.03, False), (9.0, False), (11, True)])
def test_inputs_have_a_scale_near_one(rms: float, found: bool) -> None:
    lines = run(FALLING)
    lines[0][tags.INPUT_RMS] = rms
    verdicts = judged(lines, data={"kind": "sequence", "standardize": False})
    assert [each.kind for each in verdicts] == ["input_scale"] * found
    assert all(each.advice == ("data.standardize=true",) for each in verdicts)


def test_large_targets_are_to_be_scaled() -> None:
    lines = run([4e8] * 5)
    lines[0] |= {tags.TARGET_RMS: 2e4, tags.CHANCE_LOSS: 4e8}
    (verdict,) = judged(lines)
    assert (verdict.kind, verdict.advice) == ("target_scale", ("data.scale_target=true",))


def validated(losses: list[float], accuracy: float = 0.9, f1: float = 0.9) -> Lines:
    lines = run(FALLING)
    for line, loss in zip(lines[-len(losses) :], losses, strict=True):
        line |= {tags.VAL_LOSS: loss, "val/accuracy": accuracy, "val/macro_f1": f1}
    return lines


def test_overfitting_is_a_rise_in_two_evaluations() -> None:
    assert kinds(validated([1.0, 0.8, 1.0, 1.1])) == ["overfitting"]
    assert kinds(validated([1.0, 0.8, 0.85, 1.3])) == []  # one evaluation alone
    assert kinds(validated([0.10, 0.05, 0.09, 0.09])) == []  # noise next to the loss at chance
    stops = {"early_stopping": {"patience": 3}}
    assert kinds(validated([1.0, 0.8, 1.0, 1.1]), train=stops) == []


def test_where_nothing_carries_over_there_is_no_state_to_stop_at() -> None:
    (verdict,) = judged(validated([2.0, 1.97, 2.5, 2.6]))
    assert (verdict.kind, verdict.advice) == ("overfitting", ())
    (verdict,) = judged(validated([2.0, 1.9, 2.5, 2.6]))
    assert verdict.advice == ("train.early_stopping={patience: 3}", "model.dropout=0.3")


def test_patience_grows_with_the_evaluations_before_the_best() -> None:
    lines = run([1.0 - 0.02 * n for n in range(45)])
    for number, line in enumerate(lines):
        line[tags.VAL_LOSS] = 1.0 - 0.01 * number if number < 40 else 1.0
    (verdict,) = judged(lines)
    assert verdict.kind == "overfitting"
    assert verdict.advice[0] == "train.early_stopping={patience: 9}"  # the best was the 39th


def test_a_loss_that_rose_is_no_vanishing_gradient() -> None:
    rising = [0.7, 0.7, 2.0, 5.0, 9.0, 9.0, 9.0]
    assert kinds(run(rising, **{tags.time_gradient("rnn"): [1e-9] * 10 + [1.0] * 10})) == [
        "divergence"
    ]


def test_a_residual_network_is_not_told_to_become_one() -> None:
    model = {"kind": "mlp", "hidden": [64] * 20, "residual": True, "normalization": "none"}
    (verdict,) = judged(run(FLAT, **layers(1e9)), model=model)
    assert verdict.kind == "exploding"
    assert verdict.advice[:2] == ("model.normalization=batch", "train.clip_grad_norm=1.0")


def test_a_rare_class_that_is_never_predicted_is_to_weigh_more() -> None:
    def collapsed(share: float) -> Lines:
        return validated([1.0, 1.0, 1.0], share, 2 * share / (1 + share) / 2)

    def with_classes(lines: Lines) -> Lines:
        lines[0][tags.CLASSES] = 2.0
        return lines

    (verdict,) = judged(with_classes(collapsed(0.95)))
    assert verdict.kind == "class_collapse"
    assert verdict.advice == ("loss.kind=cross_entropy", "loss.class_weights=balanced")
    weighted = {"kind": "cross_entropy", "class_weights": [0.5, 10.0]}
    (verdict,) = judged(with_classes(collapsed(0.95)), loss=weighted)
    assert verdict.advice == ()
    assert kinds(with_classes(collapsed(0.5))) == []  # of classes as common: no learning


def test_one_class_for_everything_has_the_f1_of_a_constant() -> None:
    share = 0.7
    assert kinds(validated([1.0, 1.0, 1.0], share, 2 * share / (1 + share) / 4)) == [
        "class_collapse"
    ]
    assert kinds(validated([1.0, 1.0, 1.0], share, 2 * share / (1 + share) / 4 + 0.01)) == []


def test_what_does_not_carry_over_to_other_data_is_not_learned() -> None:
    (verdict,) = judged(validated([2.1, 2.2, 2.05]))
    assert (verdict.kind, verdict.layer) == ("no_learning", None)
    assert "validation" in verdict.text


@pytest.mark.parametrize("forged", ["x", None, True, [], {}, -1, 0, 10**400, -1e308, float("nan")])
def test_a_forged_log_is_judged_by_the_numbers_that_it_has(forged: Any) -> None:
    """Each tag of each line in turn holds what no run logs."""
    recurrent = {"kind": "rnn", "cell": "rnn", "init": "default", "forget_bias": None}
    lines = run(FLAT, **{**layers(1e-9, update=0.4), tags.time_gradient("rnn"): [1e-9, 1.0] * 9})
    lines[0] |= {tags.TIME_STEPS: 18.0, tags.INPUT_RMS: 1.0, tags.TARGET_RMS: 1.0}
    for line in lines:
        line |= {tags.VAL_LOSS: 2.0, "val/accuracy": 0.5, "val/macro_f1": 0.2}
        line |= {tags.dead_units("a"): 0.9, tags.saturated("b"): 0.9, tags.weight_growth("a"): 9.0}
    for tag in {tag for line in lines for tag in line} - {"step"}:
        every = [{**line, tag: forged} if tag in line else line for line in lines]
        first = [{**lines[0], tag: forged}, *lines[1:]]
        for each in (every, first):
            for model in (MLP["model"], recurrent):
                found = judged(each, model=model)
                assert all(verdict.lines for verdict in found)


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn", "adding_rnn", "digits_sequential"])
def test_every_change_that_is_proposed_can_be_made(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    setup = Setup(load_config(ExperimentConfig, path).model_dump(mode="json"))
    series = [10.0 ** (n - 19) for n in range(20)]
    sick = [
        {**layers(1e-9)},
        {**layers(1e9)},
        {**layers(1.0), tags.time_gradient("rnn"): series},
        {**layers(1.0), tags.time_gradient("rnn"): series[::-1]},
        {**layers(1.0, update=0.5)},
        {**layers(1.0, update=1e-9)},
        {**layers(1.0), tags.dead_units("relu1"): 1.0},
        {**layers(1.0), tags.saturated("tanh1"): 1.0},
    ]
    logs = [run(FLAT, **each) for each in sick] + [validated([1.0, 0.8, 1.0, 1.1])]
    for lines in logs:
        (verdict, *_) = verdicts_on(History(lines), setup)
        load_config(ExperimentConfig, path, verdict.advice)


def test_a_verdict_can_be_printed_and_written() -> None:
    (verdict,) = judged(run(FLAT, **layers(1e-9)))
    assert verdict.lines[0].startswith("vanishing: at linear")
    assert verdict.lines[1] == (
        "  try: model.activation=relu model.normalization=batch model.init=kaiming"
    )
    assert verdict.as_json()["advice"] == list(verdict.advice)
    assert set(verdict.as_json()) >= {"kind", "layer", "step", "evidence", "advice"}
