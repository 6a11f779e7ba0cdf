"""Connectionist temporal classification (CTC), the loss of transcription."""

from typing import Literal

import torch
from torch import Tensor

from bptrain import nn
from bptrain.losses.loss_config import BaseLossConfig
from bptrain.problem import Problem

BLANK = 0  # the symbol that stands for no letter


class CTCConfig(BaseLossConfig):
    """Likelihood of a text, summed over all its alignments to the time steps."""

    kind: Literal["ctc"] = "ctc"

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss of logits."""
        return CTCOfLogits()


class CTCOfLogits(torch.nn.Module):
    """CTC of outputs that are batch first and not normalized yet."""

    def __init__(self) -> None:
        super().__init__()
        self.log_softmax = nn.LogSoftmax(2)
        # zero_infinity: a text longer than its recording has no alignment, and its infinite loss
        # would end the whole run
        self.ctc = nn.CTCLoss(blank=BLANK, zero_infinity=True)

    def forward(
        self, input: Tensor, texts: Tensor, lengths: Tensor, text_lengths: Tensor
    ) -> Tensor:
        """Return the loss of outputs [N, T, K] against texts [N, S], both with their lengths."""
        log_probs = self.log_softmax(input).transpose(0, 1)  # [T, N, K]
        loss: Tensor = self.ctc(log_probs, texts, lengths, text_lengths)
        return loss
