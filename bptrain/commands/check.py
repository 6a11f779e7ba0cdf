"""`check`: prove every gradient of a config's model and loss."""

from torch import Tensor, nn

from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan, serve
from bptrain.train.memory import allocating
from bptrain.verify import Report, check

CHECKED_SAMPLES = 8  # more would slow finite differences and show no other error


class TrainingStep(nn.Module):
    """The model and the loss as one module, as `check` judges them."""

    def __init__(self, model: nn.Module, loss: nn.Module, inputs: int) -> None:
        super().__init__()
        self.model, self.loss, self.inputs = model, loss, inputs

    def forward(self, *batch: Tensor) -> Tensor:
        """Return the loss of a batch: the inputs of the model first, then the targets."""
        outputs = self.model(*batch[: self.inputs])
        loss: Tensor = self.loss(outputs, *batch[self.inputs :])
        return loss


def check_gradients(config: ExperimentConfig) -> Report:
    """Prove every gradient of the config's model and loss on its first training samples."""
    with allocating():
        experiment = build(plan(config))
        few = config.model_copy(
            update={"data": config.data.model_copy(update={"batch_size": CHECKED_SAMPLES})}
        )
        batch = next(serve(few, experiment.dataset.train, config.seed).epoch(0))
        step = TrainingStep(experiment.model, experiment.loss_function, len(batch.inputs))
        precision = experiment.update.precision.dtype
        return check(step, (*batch.inputs, *batch.targets), precision=precision)
