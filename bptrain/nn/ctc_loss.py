"""torch.nn.CTCLoss with the backward pass of `bptrain.ops.ctc_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.ops.ctc_loss import Lengths, ctc_loss
from bptrain.ops.reduction import Reduction


class CTCLoss(torch.nn.CTCLoss):
    """Negative log-likelihood of label sequences, summed over their alignments to the frames."""

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths
    ) -> Tensor:
        """Return the loss of log_probs [T, N, K], which come from log_softmax."""
        return ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            cast("Reduction", self.reduction),
            self.zero_infinity,
        )
