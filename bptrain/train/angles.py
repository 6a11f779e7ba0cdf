"""The angle between what a learning rule gives the weights and the gradient."""

import torch
from torch import Tensor

from bptrain import tags
from bptrain.tape.layer_gradients import LayerGradients
from bptrain.tape.learning_rules.step import StepByRule
from bptrain.train.loop import Batch
from bptrain.train.precision import Precision


class Angles:
    """Measures the angle in total and of each layer, by two further steps on a batch.

    0 degrees is the gradient's own direction; below 90 a small enough update lowers the loss.
    """

    def __init__(self, step: StepByRule, gradients: LayerGradients, precision: Precision) -> None:
        self.step, self.gradients, self.precision = step, gradients, precision

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the angles in degrees by tag, on the device, at the present weights.

        NaN where one of the two is zero or not finite. Training continues as if nothing had run.
        """
        with self.precision.computing():
            found = self.step.compared(batch.inputs, batch.targets, self.precision.scaled)
        pairs = [(found.by_rule[each], found.gradient[each]) for each in self.gradients.parameters]
        products = torch.zeros(3, len(self.gradients.names), dtype=torch.float64)
        products = products.to(self.gradients.layer_of.device)
        for layer, (ours, true) in zip(self.gradients.layers, pairs, strict=True):
            if ours is not None and true is not None:
                a, b = ours.flatten().double(), true.flatten().double()
                products[:, layer] += torch.stack([a.dot(b), a.dot(a), b.dot(b)])
        dot, ours_squared, true_squared = torch.cat([products.sum(1, keepdim=True), products], 1)
        cosine: Tensor = dot / (ours_squared * true_squared).sqrt()
        angles = cosine.clamp(-1, 1).acos().rad2deg().float()
        names = [tags.ANGLE, *map(tags.layer_angle, self.gradients.names)]
        return dict(zip(names, angles.unbind(), strict=True))
