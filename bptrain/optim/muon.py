"""Muon: orthogonalized updates for hidden weight matrices, AdamW for all other parameters."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from bptrain.errors import UsageError
from bptrain.optim.combined import CombinedOptimizer
from bptrain.optim.eager import eager
from bptrain.optim.groups import hidden_matrices, norms_and_biases, split_by_decay
from bptrain.optim.options import (
    DECAY_ALL,
    DECAY_DECOUPLED,
    EPS,
    NESTEROV,
    Beta,
    Betas,
    Decay,
    Epsilon,
    LearningRate,
    OptimizerBase,
)


class MuonConfig(OptimizerBase):
    """Orthogonalized momentum for the hidden weight matrices, AdamW for all other parameters.

    The others are biases, norms, embeddings, convolution kernels and the output layer.
    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks";
    match_rms_adamw is Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2.
    """

    kind: Literal["muon"] = "muon"
    lr: LearningRate = Field(
        default=0.02,
        description="learning rate of the hidden weight matrices; the schedule multiplies it by a "
        "factor at each step",
    )
    momentum: Beta = Field(
        default=0.95,
        description="momentum factor of the hidden matrices: decay rate per step of their running "
        "mean gradient",
    )
    nesterov: bool = Field(default=True, description=NESTEROV)
    newton_schulz_steps: int = Field(
        default=5,
        ge=1,
        le=99,
        description="Newton-Schulz iterations that orthogonalize an update; more are slower and "
        "more exact",
    )
    adjust_lr: Literal["original", "match_rms_adamw"] = Field(
        default="original",
        description="how lr is scaled by a matrix's shape. original: sqrt(max(1, rows / "
        "columns)). match_rms_adamw: 0.2 * sqrt(max(rows, columns)), so that an lr tuned for "
        "adamw fits",
    )
    adamw_lr: LearningRate = Field(
        default=1e-3,
        description="learning rate of all other parameters, which AdamW updates; the schedule "
        "multiplies it too",
    )
    adamw_betas: Betas = Field(
        default=[0.9, 0.999], description="AdamW's betas, for all other parameters"
    )
    adamw_eps: Epsilon = Field(default=1e-8, description=EPS)
    weight_decay: Decay = Field(default=0.1, description=DECAY_DECOUPLED)
    decay_norm_and_bias: bool = Field(default=True, description=DECAY_ALL)

    states: ClassVar[int] = 2  # state tensors per parameter, at most: a hidden matrix has one

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return both optimizers as one, the hidden matrices' group first.

        Raises UsageError for a model without hidden matrices, and where torch is too old for Muon.
        """
        if not hasattr(torch.optim, "Muon"):
            raise UsageError(
                f"optimizer.kind is muon, which torch {torch.__version__} does not have",
                hint="torch 2.9 or newer, or optimizer.kind=adamw",
            )
        matrices = hidden_matrices(model)
        if not matrices:
            raise UsageError(
                "optimizer.kind is muon, and the model has no hidden weight matrix",
                "muon updates these only; embeddings, convolutions and the output layer are none",
                "optimizer.kind=adamw",
            )
        return CombinedOptimizer([self._muon(matrices), self._adamw(model, set(matrices))])

    def _muon(self, matrices: list[nn.Parameter]) -> torch.optim.Optimizer:
        return eager(torch.optim.Muon)(
            matrices,
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov,
            ns_steps=self.newton_schulz_steps,
            adjust_lr_fn=self.adjust_lr,
        )

    def _adamw(self, model: nn.Module, matrices: set[nn.Parameter]) -> torch.optim.Optimizer:
        others = (p for p in model.parameters() if p not in matrices)
        excluded = set() if self.decay_norm_and_bias else norms_and_biases(model)
        return eager(torch.optim.AdamW)(
            split_by_decay(others, self.weight_decay, excluded),
            lr=self.adamw_lr,
            betas=(self.adamw_betas[0], self.adamw_betas[1]),
            eps=self.adamw_eps,
            fused=True,
        )
