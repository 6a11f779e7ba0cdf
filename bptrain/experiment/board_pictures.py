"""The pictures of a run on the board while it trains: how gradients flow, and a plane's answers."""

from contextlib import nullcontext

import torch
from torch import Tensor

from bptrain import tags
from bptrain.experiment.build import Experiment
from bptrain.experiment.loss_choice import choose_loss
from bptrain.monitor.layer_graph import graph_of
from bptrain.monitor.run_log import RunLog
from bptrain.plots.canvas import Picture
from bptrain.plots.plane import Corners, decision_boundary, surface
from bptrain.problem import Problem
from bptrain.tape import Step
from bptrain.tasks.accuracy import labels_of
from bptrain.tasks.regression import each_column
from bptrain.tasks.task import class_names

SIDE = 100  # places in the plane along an axis
MARGIN = 0.1  # of the samples' extent, on each side
MOST_POINTS = 500  # samples that are drawn


def write_graph(log: RunLog, experiment: Experiment) -> None:
    """Write the graph of the model, once a step was recorded in this process."""
    engine = experiment.engine
    if isinstance(engine, Step) and engine.recorded:
        graph = graph_of(next(iter(engine.recorded.values())), experiment.model)
        if graph is not None:
            log.write_graph(graph)


def is_drawn_after(evaluations: int) -> bool:
    """Tell whether a plane is drawn after so many evaluations: 1, 2, 4, 8, ..."""
    return evaluations & (evaluations - 1) == 0


def plane_pictures(experiment: Experiment) -> dict[str, Picture]:
    """Return what the model answers all over the plane, by tag, where its inputs are points in it.

    Averaged weights take the place of the weights, as in evaluation.
    """
    problem, validation = experiment.dataset.problem, experiment.dataset.validation
    if validation is None or not is_plane(problem):
        return {}
    batch = next(validation.serve(MOST_POINTS).epoch(0))
    (inputs,), (targets, *_) = batch.inputs, batch.targets
    corners = corners_around(inputs)
    outputs = answers(experiment, places_in(corners).to(inputs))
    if not outputs.isfinite().all():
        return {}
    points = inputs.double().cpu().numpy()
    if problem.task == "regression":
        spread, center = each_column(problem.spread), each_column(problem.center)
        values, true = (
            (each.double().cpu() * spread + center).numpy() for each in (outputs, targets)
        )
        picture = surface(values.reshape(SIDE, SIDE), corners, points, true.reshape(-1))
        return {tags.split_tag("val", "surface"): picture}
    shares = choose_loss(experiment.config.loss, problem).probabilities(outputs).double().cpu()
    classes, names = labels_of(targets).cpu().numpy(), class_names(problem)
    grid = shares.view(SIDE, SIDE, -1).numpy()
    picture = decision_boundary(grid, corners, points, classes, names)
    return {tags.split_tag("val", "decision_boundary"): picture}


@torch.no_grad()
def answers(experiment: Experiment, points: Tensor) -> Tensor:
    """Return the model's outputs [N, O] at points [N, 2]; its mode is restored."""
    model, update = experiment.model, experiment.update
    was_training = model.training
    with update.average.in_place_of(model) if update.average else nullcontext():
        model.eval()
        try:
            with update.precision.computing():
                outputs: Tensor = model(points)
        finally:
            model.train(was_training)
    return outputs.float()


def corners_around(points: Tensor) -> Corners:
    """Return the part of the plane that is drawn: the samples [N, 2] and some more around them."""
    low, high = points.amin(0), points.amax(0)
    margin = MARGIN * (high - low)
    margin = margin.where(margin > 0, torch.full_like(margin, 0.5))
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    return left, right, bottom, top


def places_in(corners: Corners) -> Tensor:
    """Return the points of a grid [SIDE * SIDE, 2], row by row from the bottom."""
    left, right, bottom, top = corners
    across, up = torch.linspace(left, right, SIDE), torch.linspace(bottom, top, SIDE)
    return torch.stack(torch.meshgrid(across, up, indexing="xy"), -1).view(-1, 2)


def is_plane(problem: Problem) -> bool:
    """Tell whether inputs are two numbers, and the answer a class or one number."""
    kinds = {"classification": problem.outputs > 1, "regression": problem.outputs == 1}
    is_point = problem.input_shape == (2,) and not (problem.vocabulary or problem.is_sequence)
    return is_point and kinds.get(problem.task, False)
