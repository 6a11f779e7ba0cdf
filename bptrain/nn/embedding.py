"""torch.nn.Embedding with the backward pass of `bptrain.ops.embedding`."""

import torch
from torch import Tensor

from bptrain.ops.embedding import check_dense, embedding


class Embedding(torch.nn.Embedding):
    """A table of num_embeddings rows of embedding_dim numbers; `sparse` is not offered."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_dense(sparse)
        super().__init__(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            _weight=_weight,
            _freeze=_freeze,
            device=device,
            dtype=dtype,
        )

    def reset_parameters(self) -> None:
        """Draw the rows; on the meta device, where torch would import its compiler, do nothing."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows at the indices `input`: [..., embedding_dim]."""
        return embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
        )
