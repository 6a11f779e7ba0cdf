"""Find tensors that hold a NaN or an infinity: one pass over memory, one wait for the device."""

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold a NaN or an infinity, in their order.

    A sum of squares shows both, and is several times faster than testing each element. Large
    finite numbers overflow it too: only then is each element tested.
    """
    alike: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            alike.setdefault((tensor.device, tensor.dtype), []).append(name)
    found: set[str] = set()
    for names in alike.values():
        norms = torch.stack(list(torch._foreach_norm([tensors[name] for name in names])))
        if not norms.isfinite().all():
            found.update(name for name in names if not tensors[name].isfinite().all())
    return [name for name in tensors if name in found]
