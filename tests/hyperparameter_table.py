"""TensorBoard's table of hyperparameters, as its own backend makes it of a folder of runs."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.get_experiment import Handler as ExperimentHandler
from tensorboard.plugins.hparams.list_session_groups import Handler as SessionsHandler


def context_of(folder: Path) -> Context:
    multiplexer = EventMultiplexer(tensor_size_guidance={"scalars": 100})
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    return Context(TBContext(data_provider=provider))


def hyperparameter_table(folder: Path) -> tuple[list[str], list[str], dict[str, Any]]:
    """Return TensorBoard's columns: hyperparameters, metrics; and its rows by run."""
    context = context_of(folder)
    experiment = ExperimentHandler(
        RequestContext(), context, "", api_pb2.GetExperimentRequest(include_metrics=True)
    ).run()
    status = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING]
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=100, allowed_statuses=status, include_metrics=True
    )
    groups = SessionsHandler(RequestContext(), context, "", request).run().session_groups
    return (
        [each.name for each in experiment.hparam_infos],
        [each.name.tag for each in experiment.metric_infos],
        {each.name: each for each in groups},
    )
